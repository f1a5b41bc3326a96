r"""Converts weights of timm or torchvision and writes them as zoo-publish does.

Examples:

    zoo-convert --source=timm:resnet50.a1_in1k --model=resnet50 --output=published/it
    zoo-convert --source=vgg16_bn.safetensors --model=vgg16_mlp --output=published/vgg \
        --license=bsd-3-clause
"""

import shlex
import sys
import warnings

from absl import app, flags

from training.cli import common, names

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Weights to convert: a file, a folder, or e.g. timm:resnet50.a1_in1k.",
    required=True,
)
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Name of the model to put them into, e.g. resnet50_smooth.",
    required=True,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder to write, e.g. published/resnet50.", required=True
)
_LICENSE = flags.DEFINE_string(
    "license",
    None,
    "License of the weights, e.g. bsd-3-clause; known for many sources.",
)
_DATA = flags.DEFINE_string(
    "data", "imagenet-1k", "Data set that the weights were trained on, e.g. cifar10."
)
_DATA_LICENSE = flags.DEFINE_string(
    "data_license", None, "License of the training data, e.g. cc-by-4.0."
)
_MEAN = flags.DEFINE_list(
    "mean",
    None,
    "Mean of the pixels in that training, in [0, 1], for each channel, e.g. "
    "0.485,0.456,0.406.",
)
_STD = flags.DEFINE_list(
    "std",
    None,
    "Standard deviation of the pixels in that training, for each channel, e.g. "
    "0.229,0.224,0.225.",
)
_SAVED_MODEL = flags.DEFINE_bool("saved_model", True, "Whether to write a SavedModel.")


def main():
    """Converts the weights and says where they lie and what they are not."""
    if bool(_MEAN.value) != bool(_STD.value):
        raise app.UsageError("Give both --mean and --std, or none of them.")
    names.check([_MODEL.value])
    from training.export import export_saved_model
    from training.versions import current_commit
    from zoo import convert

    source = convert.read(_SOURCE.value, _MEAN.value, _STD.value)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = convert.convert(source, _MODEL.value)
    command = shlex.join(["zoo-convert", *sys.argv[1:]])
    convert.write(
        source,
        model,
        _OUTPUT.value,
        command=command,
        commit=current_commit(),
        license=_LICENSE.value,
        data=_DATA.value,
        data_license=_DATA_LICENSE.value,
        export=export_saved_model if _SAVED_MODEL.value else None,
    )
    for warning in caught:
        print(f"Warning: {warning.message}", file=sys.stderr)
    print(f"{model.name}: weights, preset, card and checksums in {_OUTPUT.value}")


def run():
    """Entry point of the `zoo-convert` command."""
    common.run(main)


if __name__ == "__main__":
    run()
