r"""Exports a model as probabilities from raw pixels, and checks it against Keras.

Example:

    zoo-export --model=resnet20_smooth_mcdo.fashion_mnist --format=saved_model \
        --num_samples=10 --output=exports/resnet20_smooth_mcdo
"""

from absl import flags

from training import export
from training.cli import common

_MODEL = flags.DEFINE_string(
    "model", None, "Name of a model, or a .keras file.", required=True
)
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights file, or folder of zoo-train.")
_FORMAT = flags.DEFINE_enum(
    "format", None, ["saved_model", "tflite"], "For server or device.", required=True
)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 10, "Forward passes of a stochastic model.", lower_bound=1
)
_QUANTIZATION = flags.DEFINE_enum(
    "quantization", None, ["float16", "dynamic"], "Smaller weights, in tflite."
)
_OUTPUT = flags.DEFINE_string("output", None, "What to write.", required=True)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what lies at the output.")


def main():
    """Exports the model and reports its size, its parity and where it lies."""
    if _FORMAT.value == "saved_model" and _QUANTIZATION.value:
        raise ValueError("`--quantization` is for `--format=tflite`.")
    model = common.load_model(_MODEL.value, _WEIGHTS.value)
    options = {"num_samples": _NUM_SAMPLES.value, "overwrite": _OVERWRITE.value}
    function = export.export_saved_model
    if _FORMAT.value == "tflite":
        function, options["quantization"] = export.export_tflite, _QUANTIZATION.value
    report = function(model, _OUTPUT.value, **options)
    print(
        f"{report['path']}: {report['bytes'] / 1e6:.2f} MB, num_samples="
        f"{report['num_samples']}. Probabilities differ from Keras by "
        f"{report['max_difference']:.1e} at most (allowed: {report['tolerance']:g}), "
        f"at batch sizes {' and '.join(map(str, report['batch_sizes']))}."
    )


def run():
    """Entry point of the `zoo-export` command."""
    common.run(main)


if __name__ == "__main__":
    run()
