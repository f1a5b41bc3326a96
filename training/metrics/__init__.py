"""Metrics of predictions: functions over arrays that return a float.

Those in `CLASSIFICATION` take `(probs, labels)`: probabilities of the shape
`(examples, num_classes)`, which may be a memory map as it is read in chunks, and
labels, integers in `[0, num_classes)`, of the shape `(examples,)`. Means run over all
examples at once, never over batches, and are computed in float64. For a model that
samples, `probs` is the mean of the sampled probabilities. Those in `SETS` take
`(sets, labels)`, those in `RANKING` and `PIXEL_RANKING` `(probs, labels, scores)`,
those in `DETECTION` `(scores_in, scores_out)`, those in `SEQUENCES` the probabilities
of frames, those in `REGRESSION` `(means, scales, targets)`. `SEGMENTATION` has those
for every pixel, of which some may have no label, -1; see `training.metrics.pixels`.
`docs/metrics.md` has all formulas. `compute` takes several of the first ones at once.

`keras_metrics` has the same for `compile`.
"""

from training.metrics.calibration import Reliability as Reliability
from training.metrics.calibration import adaptive_ece as adaptive_ece
from training.metrics.calibration import class_wise_ece as class_wise_ece
from training.metrics.calibration import ece as ece
from training.metrics.calibration import (
    maximum_calibration_error as maximum_calibration_error,
)
from training.metrics.calibration import reliability as reliability
from training.metrics.calibration import rms_calibration_error as rms_calibration_error
from training.metrics.calibration import signed_ece as signed_ece
from training.metrics.certainty import acc_90 as acc_90
from training.metrics.certainty import class_accuracy as class_accuracy
from training.metrics.certainty import freq_90 as freq_90
from training.metrics.certainty import iou as iou
from training.metrics.certainty import iou_90 as iou_90
from training.metrics.certainty import unc_90 as unc_90
from training.metrics.detection import aupr_in as aupr_in
from training.metrics.detection import aupr_out as aupr_out
from training.metrics.detection import auroc as auroc
from training.metrics.detection import fpr_95 as fpr_95
from training.metrics.detection import ood_scores as ood_scores
from training.metrics.pixels import by_class as by_class
from training.metrics.pixels import means_by_image as means_by_image
from training.metrics.ranking import ConfidenceCurve as ConfidenceCurve
from training.metrics.ranking import RiskCoverage as RiskCoverage
from training.metrics.ranking import aurc as aurc
from training.metrics.ranking import confidence_curve as confidence_curve
from training.metrics.ranking import error_aupr as error_aupr
from training.metrics.ranking import error_auroc as error_auroc
from training.metrics.ranking import raulc as raulc
from training.metrics.ranking import risk_coverage as risk_coverage
from training.metrics.ranking import void_auroc as void_auroc
from training.metrics.robustness import PUBLISHED as PUBLISHED
from training.metrics.robustness import aggregate as aggregate
from training.metrics.robustness import mixed as mixed
from training.metrics.scores import BrierTerms as BrierTerms
from training.metrics.scores import accuracy as accuracy
from training.metrics.scores import brier as brier
from training.metrics.scores import brier_covariance as brier_covariance
from training.metrics.scores import brier_decomposition as brier_decomposition
from training.metrics.scores import brier_reliability as brier_reliability
from training.metrics.scores import brier_resolution as brier_resolution
from training.metrics.scores import brier_uncertainty as brier_uncertainty
from training.metrics.scores import entropy as entropy
from training.metrics.scores import nll as nll
from training.metrics.scores import top_5 as top_5
from training.metrics.scores import top_k as top_k
from training.metrics.sequences import cec as cec
from training.metrics.sequences import consistency as consistency
from training.metrics.sequences import flip_rate as flip_rate
from training.metrics.sets import answered as answered
from training.metrics.sets import class_coverage as class_coverage
from training.metrics.sets import coverage as coverage
from training.metrics.sets import risk as risk
from training.metrics.sets import set_size as set_size
from training.metrics.table import BY_IMAGE as BY_IMAGE
from training.metrics.table import CARD as CARD
from training.metrics.table import CLASSIFICATION as CLASSIFICATION
from training.metrics.table import DETECTION as DETECTION
from training.metrics.table import METRICS as METRICS
from training.metrics.table import PIXEL_RANKING as PIXEL_RANKING
from training.metrics.table import PIXEL_SETS as PIXEL_SETS
from training.metrics.table import RANKING as RANKING
from training.metrics.table import REGRESSION as REGRESSION
from training.metrics.table import SEGMENTATION as SEGMENTATION
from training.metrics.table import SEQUENCES as SEQUENCES
from training.metrics.table import SETS as SETS
from training.metrics.table import Metric as Metric
from training.metrics.together import compute as compute
