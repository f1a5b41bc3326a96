r"""Evaluates models on a test set, at several numbers of forward passes.

Example:

    zoo-evaluate --model=resnet20.fashion_mnist,resnet20_smooth_mcdo.fashion_mnist \
        --dataset=fashion_mnist --num_samples=1,2,5,10,30,50 --output=evaluation
"""

import pathlib

from absl import flags, logging
from rich import console

from training import data, evaluate, report
from training.cli import common

_MODEL = flags.DEFINE_list("model", None, "Names, or .keras files.", required=True)
_WEIGHTS = flags.DEFINE_list("weights", None, "A path or nothing for each model.")
_DATASET = flags.DEFINE_string("dataset", "fashion_mnist", "Name of the test set.")
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
    models = list(map(common.load_model, _MODEL.value, weights))
    test = data.load(_DATASET.value, "test", _DATA_DIR.value).take(_LIMIT.value)
    output, rows = pathlib.Path(_OUTPUT.value), []
    output.mkdir(parents=True, exist_ok=True)
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    options = {"seed": _SEED.value, "batch_size": _BATCH_SIZE.value}
    for model in models:
        rows += evaluate.evaluate(model, test, map(int, _NUM_SAMPLES.value), **options)
    report.write_rows(rows, output / "rows.jsonl")
    report.write_table(rows, output / "table.md")
    report.plot_ensemble_size(rows, output / "ensemble_size.png")
    console.Console().print(report.rich_table(rows))
    print(*[output / f for f in ("rows.jsonl", "table.md", "ensemble_size.png")])


def run():
    """Entry point of the `zoo-evaluate` command."""
    common.run(main)


if __name__ == "__main__":
    run()
