"""The public functions and classes of the packages, and why some have no contract."""

import ast
import pathlib

# What a test of this folder calls with its table of inputs.
COVERED = {
    "layers.blur": ["BlurPool2D"],
    "layers.dropout": ["MCDropout", "Dropout"],
    "layers.smoothing": ["SpatialSmoothing"],
    "layers.streams": ["stream", "set_seed", "is_stochastic"],
    "layers.variational": ["DenseFlipout", "Conv2DFlipout"],
    "training.corruptions.batch": ["corrupt_all"],
    "training.corruptions.single": ["corrupt"],
    "training.evaluate": ["evaluate", "predict"],
    "training.export": ["export_saved_model"],
    "training.external": ["load", "read"],
    "training.fingerprint": ["of_posterior"],
    "training.litert": ["export_tflite"],
    "training.losses": ["cross_entropy", "elbo"],
    "training.metrics.calibration": [
        *("ece", "signed_ece", "rms_calibration_error", "maximum_calibration_error"),
        *("class_wise_ece", "adaptive_ece", "reliability"),
    ],
    "training.metrics.certainty": ["acc_90", "unc_90", "freq_90", "iou", "iou_90"],
    "training.metrics.detection": [
        *("ood_scores", "auroc", "aupr_out", "aupr_in", "fpr_95"),
    ],
    "training.metrics.keras_metrics": ["Classification"],
    "training.metrics.ranking": ["risk_coverage", "aurc", "raulc", "confidence_curve"],
    "training.metrics.scores": [
        *("accuracy", "top_k", "top_5", "nll", "brier", "brier_decomposition"),
        *("brier_uncertainty", "brier_resolution", "brier_reliability"),
        *("brier_covariance", "entropy"),
    ],
    "training.metrics.sequences": ["consistency", "flip_rate", "cec"],
    "training.onnx": ["export_onnx"],
    "training.passes": ["Passes"],
    "training.perturbations": ["perturb"],
    "training.serving": ["export_version"],
    "training.trainer": ["compile_model"],
    "zoo.catalog": ["list_models", "load"],
    "zoo.description": ["describe"],
    "zoo.facts": ["model_facts"],
    "zoo.posterior.deep_ensemble": ["DeepEnsemble"],
    "zoo.posterior.monte_carlo": ["MonteCarlo"],
    "zoo.posterior.temperature": ["Temperature", "best_temperature"],
    "zoo.predictive": [
        *("probs", "log_probs", "entropy", "expected_entropy", "mutual_information"),
        "variation_ratio",
    ],
    "zoo.publish": ["publish"],
    "zoo.registry": ["parse", "build", "image_size"],
    "zoo.weights": ["save_weights"],
}

# Why a module, or a function of a module with contracts, has none here.
REASONS = {
    "It is called with what its caller has checked": [
        *("layers.checks", "layers.estimators", "layers.fusion", "layers.graphs"),
        *("layers.normalization", "layers.random", "layers.tracing", "zoo.outputs"),
        *("layers.replicas", "zoo.arrays"),
        *("layers.blur.check_taps", "layers.blur.blur", "layers.blur.sums"),
        *("layers.blur.blurred_size", "layers.streams.prediction"),
        *("layers.streams.RandomLayer", "layers.variational.gaussian_kl"),
        *(
            "layers.variational.GaussianKernel",
            "training.losses.Elbo",
            "zoo.description.outline",
        ),
        *("zoo.description.count_parameters", "zoo.posterior.base"),
        *("zoo.posterior.pixels", "training.label_files", "zoo.posterior.compiled"),
        *("zoo.posterior.passes", "zoo.posterior.prefix"),
        *(
            "zoo.posterior.temperature.pooled",
            "zoo.kept_weights",
            "zoo.registry.ModelSpec",
        ),
        *("zoo.registry.default_normalization", "training.array_files"),
        *("training.augment", "training.batches", "training.checkpoint"),
        *("training.corruptions.batch.corrupt_part", "training.corruptions.common"),
        *("training.corruptions.blur", "training.corruptions.digital"),
        *("training.corruptions.frost", "training.corruptions.noise"),
        *("training.corruptions.table", "training.corruptions.weather"),
        *("training.corruptions.worker", "training.corruptions.single.generator"),
        *("training.corruptions.single.check_images", "training.encoded"),
        *("training.corruptions.single.check_natural", "training.distribution"),
        *("training.evaluate.check_dataset", "training.export.posterior_of"),
        *("training.export.write_checked", "training.flatbuffer", "training.formats"),
        *("training.litert.check_precision", "training.metrics.inputs"),
        *("training.metrics.ranking.outcomes", "training.metrics.ranking.ranked"),
        *("training.metrics.sums", "training.optimizer", "training.parity"),
        *("training.passes.check_sizes", "training.perturbations.gaussian_noise"),
        *("training.perturbations.num_frames", "training.perturbations.shot_noise"),
        *("training.perturbations.speckle_noise", "training.perturbations.zoom_blur"),
        *("training.perturbations.motion_blur", "training.perturbations.brightness"),
        *("training.perturbations.gaussian_blur", "training.perturbations.snow"),
        *("training.perturbations.spatter", "training.perturbations.translate"),
        *("training.perturbations.rotate", "training.perturbations.shear"),
        *("training.perturbations.scale", "training.perturbations.tilt"),
        *("training.progress", "training.saved_model", "training.track"),
        *("training.warmup", "training.warps"),
    ],
    "It only holds values": [
        *("training.metrics.calibration.Reliability", "zoo.preset"),
        *(
            "training.metrics.ranking.RiskCoverage",
            "training.metrics.scores.BrierTerms",
        ),
        *("training.metrics.ranking.ConfidenceCurve", "training.outcome"),
    ],
    "It builds a network whose arguments `zoo.build` has checked": [
        *("zoo.alexnet", "zoo.blocks", "zoo.methods", "zoo.parts", "zoo.preresnet"),
        *("zoo.resnet", "zoo.vgg"),
    ],
    "Its inputs are files and addresses; tests/zoo breaks these in its own ways": [
        *("zoo.card", "zoo.convert.conversion", "zoo.convert.hub", "zoo.convert.names"),
        *("zoo.convert.pickled", "zoo.convert.remote", "zoo.convert.source"),
        *("zoo.convert.padded_shortcuts",),
        *("zoo.convert.state", "zoo.download", "zoo.facts.layer_settings"),
        *("zoo.facts.check_layers", "zoo.files", "zoo.hub", "zoo.metadata"),
        *("zoo.origin", "zoo.packaging", "zoo.presets", "zoo.publish.check_published"),
        *("zoo.records", "zoo.remote", "zoo.results", "zoo.seeds", "zoo.weights"),
        *("zoo.unpickling",),
        *("training.external.is_external", "training.fingerprint.of_images"),
        *("training.publishing", "training.serving.versions"),
    ],
    "Its inputs are names of data sets and their files; tests/training has tables": [
        *("training.corrupted", "training.data", "training.folders"),
        *("training.images", "training.litert.calibration_images", "training.names"),
        *("training.ood", "training.perturbed", "training.prepared"),
        *("training.records", "training.resized", "training.shifted"),
        *("training.cifar_files", "training.class_folders", "training.image_files"),
        *("training.spelling", "training.validation"),
    ],
    "It goes over an evaluation or a training as a whole, of what is checked here": [
        *("training.benchmark", "training.candidates", "training.checking"),
        *("training.demo", "training.detect", "training.origin", "training.question"),
        *("training.predictions", "training.readme", "training.recalibrate"),
        *("training.recipes.base", "training.rounding", "training.run"),
        *("training.scaling", "training.suites", "training.summary", "training.sweep"),
        *("training.trainer.train", "training.cli"),
    ],
    "It matches names of classes; tests/zoo/test_classifier.py has tables": [
        *("zoo.classifier", "zoo.catalog.class_names", "training.class_names"),
        *("training.differences", "training.seen", "training.shown_names"),
        *("training.fingerprint.of_data", "training.fingerprint.of_named"),
        *("training.fingerprint.of_files", "training.losses.SmoothedCrossEntropy"),
        *("layers.variational.divergence_per_example",),
    ],
    "It shows rows that the evaluation has written": [
        *("training.evaluate.rows", "training.metrics.robustness", "training.report"),
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
