r"""Evaluates models on test sets, at several numbers of forward passes.

Example:

    zoo-evaluate --model=resnet20.fashion_mnist,resnet20_smooth_mcdo.fashion_mnist \
        --dataset=fashion_mnist,fashion_mnist_c/fog/* --num_samples=1,5 --output=runs/e

The same command goes on where it was interrupted.
"""

from absl import flags, logging
from rich import console

from training import benchmark, report
from training.cli import common

_MODEL = flags.DEFINE_list("model", None, "Names, or .keras files.", required=True)
_WEIGHTS = flags.DEFINE_list("weights", None, "A path or nothing for each model.")
_DATASET = flags.DEFINE_list("dataset", "fashion_mnist", "Names, with * for any.")
_NUM_SAMPLES = flags.DEFINE_list("num_samples", "1,2,5,10,30,50", "Forward passes.")
_LIMIT = flags.DEFINE_integer("limit", None, "Only the first images.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 100, "Images a step.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the forward passes.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data lie.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write to.", required=True)
flags.register_validator(
    "num_samples",
    lambda sizes: sizes and all(n.isdecimal() and int(n) for n in sizes),
    "must be positive integers, for example --num_samples=1,2,5",
)


def main():
    """Evaluates the models, prints a table and says where the files lie."""
    weights = _WEIGHTS.value or [None] * len(_MODEL.value)
    if len(weights) != len(_MODEL.value):
        raise ValueError("`--weights` needs as many entries as `--model`.")
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    options = {
        "num_samples": list(map(int, _NUM_SAMPLES.value)),
        "seed": _SEED.value,
        "batch_size": _BATCH_SIZE.value,
    }
    models = list(map(common.load_model, _MODEL.value, weights))
    where = _OUTPUT.value, _LIMIT.value, _DATA_DIR.value
    rows, paths = benchmark.run(models, _DATASET.value, *where, **options)
    console.Console().print(report.rich_table(rows))
    print(*paths)


def run():
    """Entry point of the `zoo-evaluate` command."""
    common.run(main)


if __name__ == "__main__":
    run()
