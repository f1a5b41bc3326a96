"""Keras layers for images that get worse: smoothing, dropout, Gaussian weights."""

from layers import backends

backends.check()

from layers.alias_free import FilteredMaxPooling2D as FilteredMaxPooling2D
from layers.alias_free import FilteredReLU as FilteredReLU
from layers.alias_free import QuantileReLU as QuantileReLU
from layers.attention import LocalAttention as LocalAttention
from layers.batch_ensemble import Conv2DBatchEnsemble as Conv2DBatchEnsemble
from layers.batch_ensemble import Conv2DRank1 as Conv2DRank1
from layers.batch_ensemble import DenseBatchEnsemble as DenseBatchEnsemble
from layers.batch_ensemble import DenseRank1 as DenseRank1
from layers.blur import BlurPool2D as BlurPool2D
from layers.blur import blur as blur
from layers.centroids import ClassCentroids as ClassCentroids
from layers.convolution import FusedConv2D as FusedConv2D
from layers.dropout import Dropout as Dropout
from layers.dropout import MCDropout as MCDropout
from layers.dropout import StochasticDepth as StochasticDepth
from layers.epochs import EpochEvents as EpochEvents
from layers.film import FiLMBatchNormalization as FiLMBatchNormalization
from layers.frequency import FLCPooling2D as FLCPooling2D
from layers.frequency_dropout import FrequencyDropout as FrequencyDropout
from layers.gaussian_output import GaussianOutput as GaussianOutput
from layers.gaussian_output import NomuOutput as NomuOutput
from layers.gaussian_process import GaussianProcess as GaussianProcess
from layers.grouped_convolution import GroupedConv2D as GroupedConv2D
from layers.masks import Masksembles as Masksembles
from layers.members import MemberLayer as MemberLayer
from layers.moped import moped as moped
from layers.normalization import BatchNormalization as BatchNormalization
from layers.packed import PackedDense as PackedDense
from layers.pooling import AdaptiveAveragePooling2D as AdaptiveAveragePooling2D
from layers.priors import DistributionPrior as DistributionPrior
from layers.priors import EmpCovPrior as EmpCovPrior
from layers.priors import GaussianPrior as GaussianPrior
from layers.priors import LaplacePrior as LaplacePrior
from layers.priors import Prior as Prior
from layers.priors import ScaleMixturePrior as ScaleMixturePrior
from layers.priors import StudentTPrior as StudentTPrior
from layers.priors import SumFilterPrior as SumFilterPrior
from layers.quantization import FakeQuantization as FakeQuantization
from layers.quantization import QuantizedConv2D as QuantizedConv2D
from layers.quantization import QuantizedDense as QuantizedDense
from layers.quantization import QuantizedMCDropout as QuantizedMCDropout
from layers.quantization import QuantizedSmoothing as QuantizedSmoothing
from layers.replicas import accept_empty_batches as accept_empty_batches
from layers.smoothing import SpatialSmoothing as SpatialSmoothing
from layers.spectral_norm import SpectralConv2D as SpectralConv2D
from layers.streams import RandomLayer as RandomLayer
from layers.streams import is_stochastic as is_stochastic
from layers.streams import set_seed as set_seed
from layers.streams import stream as stream
from layers.unpooling import MaxUnpooling2D as MaxUnpooling2D
from layers.variational import Conv2DFlipout as Conv2DFlipout
from layers.variational import (
    Conv2DLocalReparameterization as Conv2DLocalReparameterization,
)
from layers.variational import Conv2DReparameterization as Conv2DReparameterization
from layers.variational import DenseFlipout as DenseFlipout
from layers.variational import (
    DenseLocalReparameterization as DenseLocalReparameterization,
)
from layers.variational import DenseReparameterization as DenseReparameterization
from layers.variational import DepthwiseConv2DFlipout as DepthwiseConv2DFlipout
from layers.variational import (
    DepthwiseConv2DLocalReparameterization as DepthwiseConv2DLocalReparameterization,
)
from layers.variational import (
    DepthwiseConv2DReparameterization as DepthwiseConv2DReparameterization,
)
