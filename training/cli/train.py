r"""Trains a model by a recipe; the same command resumes where it was stopped.

Examples:

    zoo-train --model=resnet20_smooth_mcdo --recipe=fashion_mnist \
        --workdir=runs/resnet20_smooth_mcdo
    zoo-train --model=resnet20_smooth --weights=resnet20.fashion_mnist \
        --update_batch_statistics --recipe=finetune --dataset=path/to/folder \
        --workdir=runs/finetuned
    zoo-train --model=resnet20 --recipe=fashion_mnist --members=3 \
        --workdir=runs/three
    zoo-train --model=resnet20 --recipe=cifar10_30 --sweep=limit=2000,10000 \
        --sweep=batch_size=32,128 --sweep=seed=0,1 --workdir=runs/grid
    srun zoo-train --model=resnet50_smooth --recipe=imagenet \
        --distribution=multi_worker --workdir=/shared/resnet50_smooth
"""

import os

from absl import flags, logging

from training.cli import common, names, quiet
from training.sweeps import settings as sweep_settings

_MODEL = flags.DEFINE_string(
    "model", None, "Name of the model to train, e.g. resnet20_smooth.", required=True
)
_RECIPE = flags.DEFINE_string(
    "recipe", None, "Name of the recipe to train by, e.g. fashion_mnist.", required=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder that the training writes to and resumes from, e.g. runs/mine or "
    "gs://bucket/mine.",
    required=True,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder that holds the data set, e.g. data."
)
_DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "Data set to train on, e.g. path/to/folder; default: that of the recipe.",
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "Initial weights: a name, folder, file or URL, e.g. resnet20.fashion_mnist.",
)
_UPDATE_BATCH_STATISTICS = flags.DEFINE_bool(
    "update_batch_statistics",
    False,
    "Before training, set the batch statistics to those of the training set.",
)
_DISTRIBUTION = flags.DEFINE_string(
    "distribution",
    "one",
    "How to use several devices: mirrored or multi_worker (TensorFlow), or "
    "data_parallel (JAX).",
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", None, "Number of epochs, e.g. 12; default: that of the recipe."
)
_LIMIT = flags.DEFINE_integer(
    "limit", None, "Number of training images to use, e.g. 1000; default: all of them."
)
_SET = flags.DEFINE_multi_string(
    "set", [], "Setting of the recipe to change, e.g. batch_size=32; may be repeated."
)
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Seed of the initialization, the data order and all random layers.",
    lower_bound=0,
)
_MEMBERS = flags.DEFINE_integer(
    "members",
    1,
    "Number of networks to train, one after the other, with the seeds from --seed on; "
    "several are an ensemble, e.g. 3.",
    lower_bound=1,
)
_SWEEP = flags.DEFINE_multi_string(
    "sweep",
    [],
    "Setting to train with several values of, e.g. batch_size=32,128; may be repeated, "
    "for all combinations: of the recipe, or model, limit, epochs or seed.",
)
_MIXED = flags.DEFINE_bool("mixed_precision", False, "Whether to compute in 16 bits.")
_JIT = flags.DEFINE_enum(
    "jit_compile",
    "auto",
    ["auto", "true", "false"],
    "Whether to compile with XLA; auto decides by the device.",
)
_SECONDS = flags.DEFINE_float(
    "checkpoint_seconds", 60, "Number of seconds between two checkpoints, e.g. 300."
)


def main():
    """Trains the model and says where its files lie."""
    swept = sweep_settings.parse(_SWEEP.value)
    if swept and _MEMBERS.value > 1:
        raise ValueError(
            "The seeds of a sweep are a setting of it, such as `--sweep=seed=0,1`. "
            f"Received: members={_MEMBERS.value}"
        )
    names.check(
        swept.get("model", [_MODEL.value]),
        [_DATASET.value],
        _DATA_DIR.value,
        recipe=_RECIPE.value,
        output=_WORKDIR.value,
    )
    logging.set_verbosity(logging.INFO)
    if _DISTRIBUTION.value != "multi_worker":
        _train()
        return
    from training.distribution import cluster, workers

    is_chief = cluster.find(os.environ).index == 0
    if not is_chief:
        logging.set_verbosity(logging.WARNING)
    with quiet.without_lost_connections():
        try:
            _train(is_chief)
        except ConnectionError as error:
            workers.end(error)


def _train(is_chief=True):
    from training import members
    from training.run import run_training

    settings = {
        "data_dir": _DATA_DIR.value,
        "dataset": _DATASET.value,
        "weights": _WEIGHTS.value,
        "update_batch_statistics": _UPDATE_BATCH_STATISTICS.value,
        "distribution": _DISTRIBUTION.value,
        "epochs": _EPOCHS.value,
        "limit": _LIMIT.value,
        "changes": _SET.value,
        "seed": _SEED.value,
        "mixed_precision": _MIXED.value,
        "checkpoint_seconds": _SECONDS.value,
        "jit_compile": {"true": True, "false": False}.get(_JIT.value, "auto"),
    }
    of_all = _MODEL.value, _RECIPE.value, _WORKDIR.value
    if _SWEEP.value:
        _run_sweep(of_all, settings)
        return
    if _MEMBERS.value > 1:
        rows = members.run_members(*of_all, _MEMBERS.value, **settings)
    else:
        rows = [run_training(*of_all, **settings)]
    if not is_chief:
        return
    for number, row in enumerate(rows):
        _show(row, f"Member {number + 1}: " if len(rows) > 1 else "")
    print(f"Weights, metrics and TensorBoard lie in {_WORKDIR.value}")


def _run_sweep(of_all, settings):
    """Trains with all combinations of settings, and prints a line of each."""
    from training.sweeps import sweep

    for row in sweep.run_sweep(*of_all, sweep_settings.parse(_SWEEP.value), **settings):
        if row["state"] == "trained":
            _show(row, f"{row['folder']}: ")
        else:
            print(f"{row['folder']}: {row['error']}")
    print(f"All of them are rows of {_WORKDIR.value}/{sweep.SUMMARY_FILE}")


def _show(row, prefix):
    """Prints the metrics of a training."""
    kinds = {"Validation": "averaged_val", "Test": "test"}
    if "averaged_val_loss" not in row:
        kinds["Validation"] = "val"
    for name, kind in kinds.items():
        if f"{kind}_loss" in row:
            shown = [
                f"{word} {row[f'{kind}_{metric}']:.4f}"
                for metric, word in _SHOWN.items()
                if f"{kind}_{metric}" in row
            ]
            print(f"{prefix}{name} {', '.join(shown)} with one forward pass")


# Metrics of a training, in words.
_SHOWN = {
    "nll": "NLL",
    "accuracy": "accuracy",
    "rmse": "RMSE",
    "loss": "objective",
}


def run():
    """Entry point of the `zoo-train` command."""
    common.run(main)


if __name__ == "__main__":
    run()
