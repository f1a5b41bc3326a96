"""Exports a model as probabilities from raw pixels, and checks it against Keras.

Example:

    zoo-export --model=resnet20_smooth_mcdo --format=serving --output=served
"""

from absl import flags

from training.cli import common, quiet
from training.export import formats

_MODEL = flags.DEFINE_string(
    "model", None, "Name of a model, or a .keras file.", required=True
)
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights file, or folder of zoo-train.")
_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    ["saved_model", "serving", "tflite", "onnx"],
    "For servers, devices or ONNX Runtime.",
    required=True,
)
_OUTPUTS = flags.DEFINE_enum(
    "outputs", "logits", ["logits", "probs"], "What a .keras file returns."
)
_INPUT_RANGE = flags.DEFINE_list("input_range", "0,255", "The pixels that it takes.")
_CLASSES = flags.DEFINE_list(
    "classes", "", "Classes of a .keras file without, in order, or a file of lines."
)
_OUTPUT = flags.DEFINE_string("output", None, "What to write.", required=True)
_OPTIONS = (
    flags.DEFINE_integer(
        "num_samples", 10, "Forward passes of a stochastic model.", lower_bound=1
    ),
    flags.DEFINE_bool("overwrite", False, "Replace what lies at the output."),
    flags.DEFINE_enum(
        "quantization",
        None,
        ["float16", "dynamic", "int8"],
        "Smaller weights, in tflite; `int8` computes with 8 bits, too.",
    ),
    flags.DEFINE_string(
        "calibration", None, "Data set whose images fix the ranges of `int8`."
    ),
    flags.DEFINE_integer(
        "calibration_count", None, "So many of its images; 200, or all.", lower_bound=2
    ),
    flags.DEFINE_enum(
        "input_dtype", "float32", ["float32", "uint8"], "Of the images, in tflite."
    ),
)


def main():
    """Exports the model and reports its size, its parity and where it lies."""
    given = {flag.name: flag.value for flag in _OPTIONS if flag.present}
    formats.check_options(_FORMAT.value, given)
    foreign = _OUTPUTS.value, _INPUT_RANGE.value, _CLASSES.value
    model = common.load_model(_MODEL.value, _WEIGHTS.value, *foreign)
    path, name = _OUTPUT.value, _MODEL.value
    with quiet.without_chatter():
        report = formats.export_as(_FORMAT.value, model, path, given, name)
    print(formats.describe(report))


def run():
    """Entry point of the `zoo-export` command."""
    common.run(main)


if __name__ == "__main__":
    run()
