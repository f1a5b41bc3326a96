"""The public functions and classes of the packages, and why some have no contract."""

import ast
import pathlib

# What a test of this folder calls with its table of inputs.
COVERED = {
    "layers.alias_free": ["QuantileReLU", "FilteredReLU", "FilteredMaxPooling2D"],
    "layers.attention": ["LocalAttention"],
    "layers.blur": ["BlurPool2D"],
    "layers.centroids": ["ClassCentroids"],
    "layers.dropout": ["MCDropout", "Dropout", "StochasticDepth"],
    "layers.batch_ensemble": [
        *("DenseBatchEnsemble", "Conv2DBatchEnsemble", "DenseRank1", "Conv2DRank1"),
    ],
    "layers.film": ["FiLMBatchNormalization"],
    "layers.frequency": ["FLCPooling2D"],
    "layers.frequency_dropout": ["FrequencyDropout"],
    "layers.gaussian_process": ["GaussianProcess"],
    "layers.masks": ["Masksembles"],
    "layers.packed": ["PackedDense"],
    "layers.pooling": ["AdaptiveAveragePooling2D"],
    "layers.smoothing": ["SpatialSmoothing"],
    "layers.spectral_norm": ["SpectralConv2D"],
    "layers.streams": ["stream", "set_seed", "is_stochastic"],
    "layers.priors": ["GaussianPrior", "ScaleMixturePrior"],
    "layers.variational": ["DenseFlipout", "Conv2DFlipout", "DepthwiseConv2DFlipout"],
    "training.corruptions.batch": ["corrupt_all"],
    "training.corruptions.single": ["corrupt"],
    "training.evaluation.evaluate": ["evaluate", "predict"],
    "training.export.saved_model": ["export_saved_model"],
    "training.evaluation.external_models": ["load", "read"],
    "training.data.fingerprint": ["of_posterior"],
    "training.export.litert": ["export_tflite"],
    "training.objective": ["cross_entropy", "elbo"],
    "training.metrics.calibration": [
        *("ece", "signed_ece", "rms_calibration_error", "maximum_calibration_error"),
        *("class_wise_ece", "adaptive_ece", "reliability"),
    ],
    "training.metrics.certainty": [
        *("acc_90", "unc_90", "freq_90", "iou", "iou_90", "class_accuracy"),
    ],
    "training.metrics.detection": [
        *("ood_scores", "auroc", "aupr_out", "aupr_in", "fpr_95"),
    ],
    "training.metrics.keras_metrics": ["Classification"],
    "training.metrics.ranking": [
        *("risk_coverage", "aurc", "raulc", "confidence_curve", "error_aupr"),
        "error_auroc",
    ],
    "training.metrics.scores": [
        *("accuracy", "top_k", "top_5", "nll", "brier", "brier_decomposition"),
        *("brier_uncertainty", "brier_resolution", "brier_reliability"),
        *("brier_covariance", "entropy"),
    ],
    "training.metrics.sequences": ["consistency", "flip_rate", "cec"],
    "training.metrics.together": ["compute"],
    "training.metrics.sets": [
        *("coverage", "class_coverage", "set_size", "answered", "risk"),
        *("image_coverage", "image_class_coverage"),
    ],
    "training.export.onnx": ["export_onnx"],
    "training.export.web": ["export_web"],
    "training.export.openvino": ["export_openvino"],
    "training.evaluation.sampling": ["Passes"],
    "training.corruptions.sequences": ["perturb"],
    "training.export.serving": ["export_version"],
    "training.trainer": ["compile_model"],
    "zoo.conformal.sets": ["APS", "LAC"],
    "zoo.loading": ["load"],
    "zoo.catalog": ["describe", "list_models"],
    "zoo.presets.model_config": ["model_metadata"],
    "zoo.posterior.deep_ensemble": ["DeepEnsemble"],
    "zoo.posterior.density": ["Density"],
    "zoo.posterior.laplace": ["Laplace"],
    "zoo.posterior.mixture": ["Mixture"],
    "zoo.posterior.monte_carlo": ["MonteCarlo"],
    "zoo.posterior.swag": ["SWA", "SWAG"],
    "zoo.posterior.temperature": ["Temperature", "best_temperature"],
    "zoo.predictive": [
        *("probs", "log_probs", "entropy", "expected_entropy", "mutual_information"),
        "variation_ratio",
    ],
    "zoo.publishing.publish": ["publish"],
    "zoo.registry": ["parse", "build", "image_size"],
    "zoo.presets.weight_file": ["save_weights"],
}

# Why a module, or a function of a module with contracts, has none here.
REASONS = {
    "It is called with what its caller has checked": [
        *("layers.checks", "layers.estimators", "layers.compilation", "layers.graphs"),
        "layers.backends.check",
        *("layers.keras_internals", "training.versions", "zoo.dataset_name"),
        *("training.recipes.__init__.check", "zoo.model_name"),
        *("training.export.saved_model.functions", "training.export.saved_model.spec"),
        *("training.export.saved_model.scalars", "training.export.saved_model.save"),
        *("training.metrics.display", "zoo.finding", "zoo.registry.split_posterior"),
        *("zoo.loading.load_found", "zoo.loading.load_shared"),
        *("zoo.loading.warn_unlike", "zoo.loading.load_several"),
        *("zoo.posterior.monte_carlo.as_posterior", "zoo.presets.posterior_file"),
        "zoo.posterior.monte_carlo.network_of",
        "zoo.posterior.monte_carlo.noise_settings",
        "zoo.posterior.monte_carlo.passes_of",
        *("zoo.registry.split_seed", "zoo.registry.join_seed"),
        *("zoo.registry.task_of", "zoo.registry.encoder_of", "training.task"),
        "training.corruptions.sequences.perturb_labels",
        *("layers.normalization", "layers.random", "layers.tracing", "zoo.outputs"),
        *("layers.attention.windows", "layers.attention.merged"),
        *("layers.attention.shifts", "training.stochastic_depth"),
        *("layers.replicas", "layers.epochs", "zoo.arrays", "layers.deep_explainer"),
        *("layers.alias_free.num_taps", "layers.alias_free.kaiser"),
        *("layers.alias_free.upsampling", "layers.alias_free.downsampling"),
        *("layers.alias_free.raised", "layers.frequency.resampled"),
        "layers.frequency.low_cut",
        *("training.objective.numbers", "training.attacks.overfitting"),
        "training.attacks.robustness",
        *("training.attacks.whole_set", "layers.streams.of_replica"),
        "training.augment.image_to_image",
        "layers.gaussian_process.orthogonal_features",
        "training.bayesian.feature_precision",
        *("training.input_gradients", "training.objective.num_images"),
        *("training.objective.unlabeled", "training.objective.state_before"),
        *("training.objective.other_images", "training.objective.divergence"),
        *("layers.blur.check_taps", "layers.blur.blur", "layers.blur.sums"),
        "layers.blur.convolved",
        *("training.export.web.one_pass", "training.export.web.check_images"),
        *("layers.blur.blurred_size", "layers.streams.estimator"),
        "layers.streams.views",
        *("layers.pooling.subsampled", "layers.dropout.kept_scale"),
        *("layers.special", "zoo.rewriting", "training.export.litert.check_reals"),
        *("layers.streams.RandomLayer", "layers.priors.gaussian_kl"),
        *("layers.priors.gaussian_log_prob", "layers.priors.Prior"),
        *("layers.priors.get", "layers.variational.gaussian_layers"),
        "layers.variational.divergent_layers",
        "layers.variational.inverse_softplus",
        *("layers.streams.number", "layers.members", "layers.masks.draw_masks"),
        *("layers.packed.check_divides", "layers.packed.num_groups"),
        *("layers.batch_ensemble.FastWeights", "layers.batch_ensemble.Rank1"),
        "layers.variational.per_example",
        *(
            "layers.variational.GaussianKernel",
            "training.objective.Elbo",
            "zoo.catalog.outline",
        ),
        *("zoo.catalog.count_parameters", "zoo.posterior.base"),
        *("zoo.posterior.curvature", "zoo.posterior.pixels", "zoo.posterior.maps"),
        *("zoo.posterior.feature_scores", "zoo.posterior.last_layer"),
        *("zoo.posterior.swag.Averages", "zoo.posterior.swag.Moments"),
        *("zoo.presets.snapshots", "layers.batch_statistics"),
        *("zoo.posterior.gauss_newton", "zoo.posterior.subsets", "layers.gradients"),
        "training.data.readers.label_files",
        *("zoo.posterior.sample_loop", "zoo.posterior.graph_split"),
        *("zoo.folding", "layers.convolution", "training.processor"),
        "layers.grouped_convolution",
        *(
            "zoo.posterior.scaler",
            "zoo.posterior.around",
            "zoo.posterior.examples",
            "training.metrics.table",
            "zoo.kept_weights",
            "zoo.spelling",
        ),
        *("zoo.registry.default_normalization", "training.evaluation.array_files"),
        *("training.augment", "training.batches", "training.checkpoint"),
        *("training.distribution.device_memory", "training.distribution.resident"),
        "training.bayesian.kl_weight",
        *("training.trained_layers", "training.semi_supervised"),
        *("training.augment.chains", "training.objectives", "training.augment.pairs"),
        *("training.augment.operations", "training.augment.rand_augment"),
        *("training.named_settings", "training.distribution.step_keys"),
        "training.objective.are_probabilities",
        *("training.corruptions.part.corrupt_part", "training.corruptions.common"),
        *("training.corruptions.blur", "training.corruptions.digital"),
        *("training.corruptions.frost", "training.corruptions.noise"),
        *("training.corruptions.table", "training.corruptions.weather"),
        "training.corruptions.liquids",
        *("training.corruptions.worker", "training.corruptions.single.generator"),
        *("training.corruptions.single.check_images", "training.export.encoded_images"),
        *("training.corruptions.single.check_natural", "training.distribution"),
        *(
            "training.evaluation.evaluate.check_dataset",
            "training.export.checked.check_decision",
            "training.export.checked.check_draws",
            "training.export.checked.posterior_of",
            "training.export.checked.scored",
            "training.export.checked.check_scores",
            "training.export.checked.check_place",
        ),
        *(
            "training.export.checked.write_checked",
            "training.export.checked.replacing",
            "training.export.flatbuffer",
            "training.export.formats",
        ),
        *("training.export.litert.check_precision", "training.metrics.inputs"),
        "training.export.litert.check_gradients",
        "training.export.litert.device_function",
        *("training.export.litert.convert", "training.export.litert.for_files"),
        "training.export.openvino.check",
        *("training.metrics.ranking.outcomes", "training.metrics.ranking.ranked"),
        *("training.metrics.ranking.confidences", "training.metrics.pixels"),
        *("training.metrics.definitions.entropies", "training.metrics.sums"),
        *("training.metrics.definitions.class_ious", "training.optimizer"),
        "training.export.parity",
        *("training.metrics.ranking.void_auroc", "zoo.conformal.sets.by_image"),
        *(
            "training.evaluation.sampling.check_precision",
            "training.evaluation.sampling.check_sizes",
            "training.corruptions.sequences.gaussian_noise",
        ),
        *(
            "training.corruptions.sequences.num_frames",
            "training.corruptions.sequences.shot_noise",
        ),
        *(
            "training.corruptions.sequences.speckle_noise",
            "training.corruptions.sequences.zoom_blur",
        ),
        *(
            "training.corruptions.sequences.motion_blur",
            "training.corruptions.sequences.brightness",
        ),
        *(
            "training.corruptions.sequences.gaussian_blur",
            "training.corruptions.sequences.snow",
        ),
        *(
            "training.corruptions.sequences.spatter",
            "training.corruptions.sequences.translate",
        ),
        *(
            "training.corruptions.sequences.rotate",
            "training.corruptions.sequences.shear",
        ),
        *(
            "training.corruptions.sequences.scale",
            "training.corruptions.sequences.tilt",
        ),
        "training.progress",
        *("training.export.warmup", "training.corruptions.warps"),
    ],
    "tests/zoo and tests/training break it in test_regression.py": [
        *("layers.gaussian_output", "training.data.functions", "training.data.tables"),
        *("training.data.number_data", "training.number_losses", "training.regressor"),
        "training.data.readers.number_files",
        *("zoo.optimization", "zoo.posterior.linear_laplace", "zoo.posterior.spread"),
        *("zoo.predictive.gaussian", "zoo.predictive.aleatoric_scale"),
        *("zoo.predictive.epistemic_scale", "zoo.predictive.log_density"),
    ],
    "It only holds values": [
        *("training.metrics.calibration.Reliability", "zoo.presets.preset"),
        "training.objective.Objective",
        *(
            "training.metrics.ranking.RiskCoverage",
            "training.metrics.scores.BrierTerms",
        ),
        *("training.metrics.ranking.ConfidenceCurve", "training.report.terminal"),
    ],
    "It builds a network whose arguments `zoo.build` has checked": [
        *(
            "zoo.models.alexnet",
            "zoo.models.blocks",
            "zoo.models.lenet",
            "zoo.models.methods",
            "zoo.models.parts",
            "zoo.models.preresnet",
        ),
        *("zoo.models.resnet", "zoo.models.vgg", "zoo.models.segmentation"),
    ],
    "Its inputs are files and addresses; tests/zoo breaks these in its own ways": [
        *(
            "zoo.publishing.model_card",
            "zoo.convert.conversion",
            "zoo.convert.keras_hub_format",
            "zoo.convert.name_tables",
        ),
        *("zoo.convert.torch_format", "zoo.convert.first_use", "zoo.convert.source"),
        *("zoo.convert.padded_shortcuts",),
        *(
            "zoo.convert.state_dict",
            "zoo.storage.download",
            "zoo.presets.model_config.layer_settings",
        ),
        *(
            "zoo.presets.model_config.check_layers",
            "zoo.storage.files",
            "zoo.storage.hugging_face",
        ),
        *(
            "zoo.presets.provenance",
            "zoo.publishing.packaging",
            "zoo.presets.index",
            "zoo.publishing.publish.check_published",
        ),
        *(
            "zoo.publishing.training_record",
            "zoo.storage.urls",
            "zoo.storage.remote",
            "zoo.publishing.results",
            "zoo.presets.weight_file",
        ),
        *("zoo.storage.unpickling", "zoo.presets.training_images"),
        *(
            "training.evaluation.external_models.is_external",
            "training.evaluation.external_outputs",
            "training.evaluation.artifacts",
            "training.runtimes",
            "training.data.fingerprint.of_images",
        ),
        *("training.publishing.publish_training", "training.export.serving.versions"),
    ],
    "Its inputs are names of data sets and their files; tests/training has tables": [
        *("training.data.corrupted", "training.data", "training.data.readers.folders"),
        *(
            "training.data.image_data",
            "training.export.litert.calibration_images",
            "training.data.grids",
        ),
        *(
            "training.data.small",
            "training.data.perturbed",
            "training.data.readers.tfds",
        ),
        *(
            "training.data.readers.tfds_records",
            "training.data.resize",
            "training.data.shifted",
        ),
        *(
            "training.data.readers.cifar_files",
            "training.data.readers.class_folders",
            "training.data.readers.image_files",
            "training.data.audit",
        ),
        *("training.data.loading", "training.data.validation"),
        "training.distribution.cluster",
    ],
    "It goes over an evaluation or a training as a whole, of what is checked here": [
        *(
            "training.evaluation.command",
            "training.evaluation.models",
            "training.evaluation.card_check",
        ),
        *(
            "training.cli.demo_tour",
            "training.evaluation.ood",
            "training.initial_weights",
            "training.chance",
        ),
        *(
            "training.evaluation.predictions",
            "training.batch_statistics",
        ),
        *(
            "training.recipes.base",
            "training.publishing.half_precision",
            "training.run",
        ),
        *(
            "training.evaluation.scaling",
            "training.evaluation.shared_passes",
            "training.evaluation.adaptation",
            "training.evaluation.adapted_posteriors",
            "training.evaluation.decisions",
            "training.evaluation.carried",
            "training.evaluation.masking_check",
            "training.evaluation.prediction_files",
            "training.evaluation.suites",
            "training.evaluation.sweep",
        ),
        *("training.trainer.train", "training.cli", "training.distribution.workers"),
        *("training.members", "training.sweeps"),
        *("training.evaluation.slices", "training.parallel"),
    ],
    "It matches names of classes; tests/zoo/test_classifier.py has tables": [
        *(
            "zoo.classifier",
            "training.evaluation.class_names",
        ),
        *(
            "training.differences",
            "training.evaluation.seen",
            "training.data.shown_names",
        ),
        *("training.data.fingerprint.of_data", "training.data.fingerprint.of_named"),
        *(
            "training.data.fingerprint.of_files",
            "training.objective.SmoothedCrossEntropy",
        ),
        *("layers.variational.divergence_per_example",),
    ],
    "tests/layers has tables of its inputs": [
        *("layers.moped", "layers.priors.DistributionPrior", "layers.unpooling"),
        "layers.quantization",
        *(
            f"layers.variational.{base}{ending}"
            for base in ("Dense", "Conv2D", "DepthwiseConv2D")
            for ending in ("Reparameterization", "LocalReparameterization")
        ),
    ],
    "Its own tests have tables of its inputs": [
        "training.compress",
        *("layers.priors", "training.bayesian.priors", "training.mcmc"),
        "training.attacks",
        "training.metrics.regression",
        *("training.analysis", "training.video", "training.export.streams"),
        "zoo.posterior.temporal",
        "zoo.posterior.weight_samples",
    ],
    "tests/zoo has tables of its inputs": [
        *("zoo.channels", "zoo.compressed", "zoo.quantization"),
        "zoo.posterior.prior_network",
        "zoo.bayesian",
        *("zoo.conformal.decision", "zoo.conformal.names", "zoo.conformal.selective"),
        *("zoo.conformal.sets.RAPS", "zoo.conformal.sets.SplitConformal"),
        *("zoo.conformal.sets.quantile", "zoo.conformal.sets.threshold_rank"),
        *("zoo.posterior.dirichlet", "zoo.posterior.isotonic", "zoo.posterior.vector"),
        "zoo.posterior.linear_maps",
    ],
    "It shows rows that the evaluation has written": [
        *(
            "training.evaluation.evaluate.rows",
            "training.metrics.robustness",
            "training.report",
        ),
    ],
}


def public(root: pathlib.Path) -> list[str]:
    """Returns the dotted names of all public functions and classes, by their source."""
    names = []
    for package in ("layers", "zoo", "training"):
        for path in sorted((root / package).rglob("*.py")):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            kinds = ast.FunctionDef, ast.ClassDef
            names += [
                f"{module}.{node.name}"
                for node in ast.parse(path.read_text()).body
                if isinstance(node, kinds) and not node.name.startswith("_")
            ]
    return names


def covered() -> set[str]:
    """Returns the names with contracts."""
    return {f"{module}.{name}" for module, names in COVERED.items() for name in names}


def reason(name: str) -> str | None:
    """Returns why a name has no contract: that of itself, or of a module around it."""
    parts = name.split(".")
    around = {".".join(parts[: i + 1]) for i in range(len(parts))}
    return next((why for why, of in REASONS.items() if around & set(of)), None)
