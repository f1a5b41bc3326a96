"""Exports a model as probabilities from raw pixels, and checks it against Keras.

Example: zoo-export --model=resnet20_smooth_mcdo --format=serving --output=served
"""

import pathlib

from absl import flags

from training import export, serving
from training.cli import common

_MODEL = flags.DEFINE_string(
    "model", None, "Name of a model, or a .keras file.", required=True
)
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights file, or folder of zoo-train.")
_FORMAT = flags.DEFINE_enum(
    "format", None, ["saved_model", "serving", "tflite"], "For what.", required=True
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
    kind, args = _FORMAT.value, [_OUTPUT.value, _NUM_SAMPLES.value]
    if kind != "tflite" and _QUANTIZATION.value:
        raise ValueError("`--quantization` is for `--format=tflite`.")
    if kind == "serving" and _OVERWRITE.value:
        raise ValueError("`--format=serving` adds a version and overwrites none.")
    model = common.load_model(_MODEL.value, _WEIGHTS.value)
    if kind == "serving":  # The name on the server is without the tag.
        name = pathlib.PurePath(_MODEL.value).stem
        report = serving.export_version(model, *args, name=name)
    elif kind == "tflite":
        args.append(_QUANTIZATION.value)
        report = export.export_tflite(model, *args, overwrite=_OVERWRITE.value)
    else:
        report = export.export_saved_model(model, *args, overwrite=_OVERWRITE.value)
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
