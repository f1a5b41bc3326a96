r"""Trains a model by a recipe; the same command goes on where it was stopped.

Examples:

    zoo-train --model=resnet20_smooth_mcdo --recipe=fashion_mnist \
        --workdir=runs/resnet20_smooth_mcdo
    zoo-train --model=resnet20_smooth --weights=resnet20.fashion_mnist --recalibrate \
        --recipe=finetune --dataset=path/to/folder --workdir=runs/finetuned
"""

from absl import flags, logging

from training.cli import common
from training.run import run_training

_MODEL = flags.DEFINE_string("model", None, "Name of the model.", required=True)
_RECIPE = flags.DEFINE_string("recipe", None, "Name of the recipe.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for all files.", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data lie.")
_DATASET = flags.DEFINE_string("dataset", None, "Data set in place of the recipe's.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Start: a name, folder, file or URL.")
_RECALIBRATE = flags.DEFINE_bool("recalibrate", False, "Set batch statistics first.")
_DISTRIBUTION = flags.DEFINE_string("distribution", "one", "mirrored or data_parallel.")
_EPOCHS = flags.DEFINE_integer("epochs", None, "Epochs in place of the recipe's.")
_LIMIT = flags.DEFINE_integer("limit", None, "Train on so many images.")
_SET = flags.DEFINE_multi_string("set", [], "Like batch_size=32, of the recipe.")
_SEED = flags.DEFINE_integer("seed", 0, "Of everything random.", lower_bound=0)
_MIXED = flags.DEFINE_bool("mixed_precision", False, "Compute in 16 bits.")
_JIT = flags.DEFINE_enum("jit_compile", "auto", ["auto", "true", "false"], "Use XLA.")
_SECONDS = flags.DEFINE_float("checkpoint_seconds", 60, "Between checkpoints.")


def main():
    """Trains the model and says where its files lie."""
    logging.set_verbosity(logging.INFO)
    row = run_training(
        _MODEL.value,
        _RECIPE.value,
        _WORKDIR.value,
        data_dir=_DATA_DIR.value,
        dataset=_DATASET.value,
        weights=_WEIGHTS.value,
        recalibrate=_RECALIBRATE.value,
        distribution=_DISTRIBUTION.value,
        epochs=_EPOCHS.value,
        limit=_LIMIT.value,
        changes=_SET.value,
        seed=_SEED.value,
        mixed_precision=_MIXED.value,
        checkpoint_seconds=_SECONDS.value,
        jit_compile={"true": True, "false": False}.get(_JIT.value, "auto"),
    )
    kinds = {"Validation": "averaged_val", "Test": "test"}
    if "averaged_val_loss" not in row:
        kinds["Validation"] = "val"
    for name, kind in kinds.items():
        if f"{kind}_loss" in row:
            nll, accuracy, loss = (
                row[f"{kind}_{metric}"] for metric in ("nll", "accuracy", "loss")
            )
            print(
                f"{name} NLL {nll:.4f}, accuracy {accuracy:.4f}, objective {loss:.4f} "
                "with one forward pass"
            )
    print(f"Weights, metrics and TensorBoard lie in {_WORKDIR.value}")


def run():
    """Entry point of the `zoo-train` command."""
    common.run(main)


if __name__ == "__main__":
    run()
