r"""Publishes the weights of a training, or puts published ones into the package.

Examples:

    zoo-publish --model=resnet20_smooth_mcdo --weights=runs/resnet20_smooth_mcdo \
        --results=evaluation/rows.jsonl --output=published/resnet20_smooth_mcdo
    zoo-publish --package=published/resnet20,published/resnet20_smooth_mcdo
"""

from absl import app, flags

import zoo
from training.cli import common
from training.export import export_saved_model
from zoo import publish

_MODEL = flags.DEFINE_string(
    "model", None, "Name of the model; its tag is by default that of the data set."
)
_WEIGHTS = flags.DEFINE_string("weights", None, "Folder of a training, or its file.")
_RESULTS = flags.DEFINE_list("results", [], "JSON lines of zoo-evaluate.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
_LICENSE = flags.DEFINE_string("license", "apache-2.0", "Of the weights.")
_DATA_LICENSE = flags.DEFINE_string("data_license", None, "Of the training data.")
_SAVED_MODEL = flags.DEFINE_bool("saved_model", True, "Whether to write a SavedModel.")
_PACKAGE = flags.DEFINE_list("package", [], "Published folders for the package.")


def _publish():
    record = publish.read_record(_WEIGHTS.value)
    name = (
        _MODEL.value if "." in _MODEL.value else f"{_MODEL.value}.{record['dataset']}"
    )
    model = zoo.load(name, weights=_WEIGHTS.value)
    rows = [row for path in _RESULTS.value for row in publish.read_rows(path)]
    licenses = _LICENSE.value, _DATA_LICENSE.value
    export = export_saved_model if _SAVED_MODEL.value else None
    publish.publish(model, _OUTPUT.value, record, rows, *licenses, export)
    print(f"{name}: weights, preset, card and checksums in {_OUTPUT.value}")


def main():
    """Writes one folder, or packages several."""
    needed = _MODEL.value, _WEIGHTS.value, _OUTPUT.value
    if bool(_PACKAGE.value) == any(needed) or (any(needed) and not all(needed)):
        raise app.UsageError("Give --model, --weights and --output, or --package.")
    for folder in _PACKAGE.value:
        preset = publish.package(folder)
        print(f"{preset.name}: {preset.size / 1e6:.2f} MB in the package")
    if _MODEL.value:
        _publish()


def run():
    """Entry point of the `zoo-publish` command."""
    common.run(main)


if __name__ == "__main__":
    run()
