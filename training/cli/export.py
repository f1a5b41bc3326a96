"""Exports a model as probabilities from raw pixels, and checks it against Keras.

Example:

    zoo-export --model=resnet20_smooth_mcdo --format=serving --output=served
"""

import functools

from absl import flags

from training.cli import common, names, quiet

_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Model to export: a name, a .keras file or a+b, any of them with @posterior, e.g. "
    "resnet20@laplace:predictive=bridge.",
    required=True,
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "Weights to load: a file, or a folder of zoo-train, e.g. runs/mine.",
)
_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    ["saved_model", "serving", "tflite", "web", "onnx", "openvino"],
    "Format to write: saved_model or serving for servers, tflite for devices, web for "
    "browsers, onnx, openvino.",
    required=True,
)
_OUTPUTS = flags.DEFINE_enum(
    "outputs", "logits", ["logits", "probs"], "What a .keras file returns."
)
_INPUT_RANGE = flags.DEFINE_list(
    "input_range", "0,255", "Range of pixel values that a .keras file takes, e.g. 0,1."
)
_CLASSES = flags.DEFINE_list(
    "classes",
    "",
    "Class names of a .keras file that has none, in order, e.g. cat,dog, or a file "
    "with one a line.",
)
_ADAPT = flags.DEFINE_string(
    "adapt",
    None,
    "Data set whose validation images posteriors and decisions adapt to, or its "
    "training images for posteriors that are fitted to these.",
)
_DECISION = flags.DEFINE_string(
    "decision",
    None,
    "Decision to export with it, with what it promises in percent, e.g. aps_90.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the files of the data sets of --adapt and --calibration, e.g. data.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "File or folder to write, e.g. model.tflite.", required=True
)
flags.register_validator("output", common.is_local, common.LOCAL)
_OPTIONS = (
    flags.DEFINE_integer(
        "num_samples",
        10,
        "Number of forward passes that a stochastic model averages.",
        lower_bound=1,
    ),
    flags.DEFINE_bool("overwrite", False, "Whether to replace an existing output."),
    flags.DEFINE_enum(
        "quantization",
        None,
        ["float16", "dynamic", "int8", "weight_only", "int4", "weight_only_int4"],
        "Precision of the weights in tflite and web; int8 also computes in 8 bits.",
    ),
    flags.DEFINE_string(
        "calibration",
        None,
        "Data set whose images calibrate the ranges of int8, e.g. fashion_mnist.",
    ),
    flags.DEFINE_integer(
        "calibration_count",
        None,
        "Number of calibration images, e.g. 500; default: 200, or all of fewer.",
        lower_bound=2,
    ),
    flags.DEFINE_enum(
        "input_dtype",
        "float32",
        ["float32", "uint8"],
        "Type of the pixels that a tflite model takes.",
    ),
    flags.DEFINE_integer(
        "batch",
        None,
        "Fixed number of images that a tflite model takes; default: any number.",
        lower_bound=1,
    ),
)


def main():
    """Exports the model and reports its size, its parity and where it lies."""
    datasets = [_ADAPT.value, flags.FLAGS.calibration]
    names.check([_MODEL.value], datasets, _DATA_DIR.value)
    from training.export import checked, formats
    from zoo import conformal

    given = {flag.name: flag.value for flag in _OPTIONS if flag.present}
    named = ["decision"] if _DECISION.value else []
    formats.check_options(_FORMAT.value, [*given, *named])
    decision = conformal.named(_DECISION.value) if named else None
    checked.check_draws(decision)
    if _FORMAT.value != "serving":  # What comes next may take long.
        checked.check_place(_OUTPUT.value, given.get("overwrite", False))
    model = common.load_model(
        _MODEL.value,
        _WEIGHTS.value,
        outputs=_OUTPUTS.value,
        input_range=_INPUT_RANGE.value,
        classes=_CLASSES.value,
        num_samples=given.get("num_samples", 10),
        adapt=_ADAPT.value,
        data_dir=_DATA_DIR.value,
        decision=decision,
        check=functools.partial(formats.check_posterior, _FORMAT.value),
    )
    with quiet.without_chatter():
        report = formats.export_as(
            _FORMAT.value,
            model,
            _OUTPUT.value,
            options=given,
            name=_MODEL.value,
            decision=decision,
            data_dir=_DATA_DIR.value,
        )
    print(formats.describe(report))


def run():
    """Entry point of the `zoo-export` command."""
    common.run(main)


if __name__ == "__main__":
    run()
