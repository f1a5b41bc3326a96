r"""Writes a page that shows how sure a model is, with a picture of each class.

Example:

    python -m training.cli.web_demo --output=build/web-demo
"""

from absl import flags

from training.cli import common, names, quiet

_MODEL = flags.DEFINE_string(
    "model", "resnet20_smooth_mcdo.fashion_mnist", "Name of the model, e.g. resnet20."
)
_DATASET = flags.DEFINE_string(
    "dataset", "fashion_mnist", "Data set whose test images are shown, e.g. cifar10."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of the files of that data set, e.g. data."
)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 10, "Number of forward passes to begin with, e.g. 5.", lower_bound=1
)
_OUTPUT = flags.DEFINE_string(
    "output", "build/web-demo", "Folder to write, e.g. runs/page."
)
flags.register_validator("output", common.is_local, common.LOCAL)
_COUNT = 10  # Pictures.


def main():
    """Writes the folder and says what is in it."""
    names.check([_MODEL.value], [_DATASET.value], _DATA_DIR.value)
    from training import data
    from training.export import formats, web

    dataset = data.load(_DATASET.value, "test", _DATA_DIR.value)
    model = common.load_model(
        _MODEL.value, num_samples=_NUM_SAMPLES.value, data_dir=_DATA_DIR.value
    )
    with quiet.without_chatter():
        report = web.export_web(
            model,
            _OUTPUT.value,
            _NUM_SAMPLES.value,
            overwrite=True,
            name=_MODEL.value,
            samples=_pictures(dataset),
        )
    print(formats.describe(report))


def _pictures(dataset):
    """Returns names and the first images of the classes, in their order."""
    import numpy as np

    labels, first = np.unique(np.asarray(dataset.labels), return_index=True)
    return [
        (f"{dataset.classes[label]}", np.asarray(dataset.images[int(place)]))
        for label, place in zip(labels[:_COUNT], first[:_COUNT], strict=True)
    ]


def run():
    """Entry point of the command."""
    common.run(main)


if __name__ == "__main__":
    run()
