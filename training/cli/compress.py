r"""Makes a network smaller by a training; the same command resumes.

Weights of few bits, weights that are zero, fewer filters, or what others predict in one
pass; several of them together. What it writes is the folder of a training, for
zoo-evaluate, zoo-export and zoo-publish.

Examples:

    zoo-compress --model=resnet20_smooth --weights=resnet20_smooth.cifar10 --bits=8 \
        --recipe=cifar10_compress --workdir=runs/int8
    zoo-compress --model=resnet20 --weights=resnet20.cifar10 --sparsity=0.8 \
        --recipe=cifar10_compress --workdir=runs/sparse
    zoo-compress --model=resnet20 --weights=resnet20.cifar10 --filters=0.5 \
        --recipe=cifar10_compress --workdir=runs/narrow
    zoo-compress --model=resnet20_smooth --recipe=cifar10_compress \
        --teacher=resnet20_smooth_mcdo10.cifar10@mc:num_samples=10 --workdir=runs/one
"""

from absl import flags, logging

from training.cli import common, names

_MODEL = flags.DEFINE_string(
    "model", None, "Name of the model, e.g. resnet20_smooth.", required=True
)
_RECIPE = flags.DEFINE_string(
    "recipe",
    None,
    "Name of the recipe to train by, e.g. cifar10_compress.",
    required=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder that the training writes to and resumes from, e.g. runs/int8.",
    required=True,
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "Weights to start from: a name, folder, file or URL, e.g. resnet20.cifar10.",
)
_BITS = flags.DEFINE_enum(
    "bits",
    None,
    ["8", "4"],
    "Bits of the weights of a network that is trained to compute as integers do.",
)
_SPARSITY = flags.DEFINE_float(
    "sparsity",
    None,
    "Share of the weights that become zero along the training, e.g. 0.8.",
)
_FILTERS = flags.DEFINE_float(
    "filters", None, "Share of the filters that are removed before it, e.g. 0.5."
)
_SCORE = flags.DEFINE_enum(
    "score",
    None,
    ["l1", "scale"],
    "What ranks filters: the norm of their kernels, or the scale of the normalization "
    "behind; default: l1.",
)
_TEACHER = flags.DEFINE_string(
    "teacher",
    None,
    "Network to learn from, or several, e.g. resnet20_mcdo10.cifar10@mc:num_samples=10 "
    "or resnet20.cifar10*3.",
)
_TEACHER_WEIGHTS = flags.DEFINE_string(
    "teacher_weights",
    None,
    "Weights of the teacher: a file or folder, or several joined by +, e.g. "
    "runs/a+runs/b.",
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature", None, "Temperature of the distillation, e.g. 4."
)
_TEACHER_WEIGHT = flags.DEFINE_float(
    "teacher_weight",
    None,
    "Weight of the teacher's predictions, the labels having the rest, e.g. 0.9.",
)
_SPREAD = flags.DEFINE_bool(
    "spread",
    False,
    "Whether to learn how far the teacher's predictions are apart, for @priornet.",
)
_FROZEN = flags.DEFINE_integer(
    "frozen_epochs",
    None,
    "Number of the last epochs in which batch statistics and ranges stay, e.g. 2; "
    "default: that of the recipe.",
    lower_bound=0,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder that holds the data set, e.g. data."
)
_DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "Data set to train on, e.g. path/to/folder; default: that of the recipe.",
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", None, "Number of epochs, e.g. 5; default: that of the recipe."
)
_LIMIT = flags.DEFINE_integer(
    "limit", None, "Number of training images to use, e.g. 1000; default: all of them."
)
_SET = flags.DEFINE_multi_string(
    "set", [], "Setting of the recipe to change, e.g. batch_size=32; may be repeated."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.", lower_bound=0)
_DISTRIBUTION = flags.DEFINE_string(
    "distribution",
    "one",
    "How to use several devices: mirrored (TensorFlow) or data_parallel (JAX).",
)
_MIXED = flags.DEFINE_bool("mixed_precision", False, "Whether to compute in 16 bits.")
_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds", 60, "Number of seconds between two checkpoints, e.g. 300."
)


def main():
    """Makes the network smaller and says how small it is."""
    teachers = [_TEACHER.value] if _TEACHER.value else []
    names.check(
        [_MODEL.value, *teachers],
        [_DATASET.value],
        _DATA_DIR.value,
        recipe=_RECIPE.value,
        output=_WORKDIR.value,
    )
    logging.set_verbosity(logging.INFO)
    from training.compress import command

    smaller = command.settings_of(
        bits=_BITS.value and int(_BITS.value),
        sparsity=_SPARSITY.value,
        filters=_FILTERS.value,
        score=_SCORE.value,
        teacher=_TEACHER.value,
        teacher_weights=_TEACHER_WEIGHTS.value,
        temperature=_TEMPERATURE.value,
        weight=_TEACHER_WEIGHT.value,
        spread=_SPREAD.value,
        frozen_epochs=_FROZEN.value,
    )
    report = command.run_compression(
        _MODEL.value,
        _RECIPE.value,
        _WORKDIR.value,
        changes=_SET.value,
        smaller=smaller,
        weights=_WEIGHTS.value,
        data_dir=_DATA_DIR.value,
        dataset=_DATASET.value,
        epochs=_EPOCHS.value,
        limit=_LIMIT.value,
        seed=_SEED.value,
        distribution=_DISTRIBUTION.value,
        mixed_precision=_MIXED.value,
        checkpoint_seconds=_SECONDS.value,
    )
    print(f"{command.describe(report)}. It lies in {_WORKDIR.value}")
    row = report["metrics"]
    if "test_nll" in row:
        print(
            f"Test NLL {row['test_nll']:.4f}, accuracy {row['test_accuracy']:.4f} with "
            "one forward pass"
        )


def run():
    """Entry point of the `zoo-compress` command."""
    common.run(main)


if __name__ == "__main__":
    run()
