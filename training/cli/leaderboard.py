r"""Ranks models by how much they know about their own mistakes, on a page of its own.

It takes rows of zoo-evaluate, which has models of any kind, and predictions of any
framework in .npz files, and writes index.html and leaderboard.json.

Examples:

    zoo-leaderboard runs/a/rows.jsonl runs/b --published --output=site
    zoo-leaderboard theirs --model=resnet20* --reference=resnet20 --output=site
"""

from absl import flags

from training.cli import common

_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder to write the page and its data to, e.g. site.",
    required=True,
)
_PUBLISHED = flags.DEFINE_bool(
    "published",
    False,
    "Whether the models that are published with this package are in.",
)
_MODEL = flags.DEFINE_list(
    "model", "", "Models to show, all by default; * matches any name, e.g. resnet20*."
)
_DATASET = flags.DEFINE_list(
    "dataset",
    "",
    "Clean data sets to show, with what is derived from them, e.g. cifar10,cifar100.",
)
_REFERENCE = flags.DEFINE_list(
    "reference",
    "",
    "Models whose errors are 100 in the mCE of the others, e.g. resnet20.cifar10; "
    "default: of each data set the first deterministic one.",
)
flags.register_validator("output", common.is_local, common.LOCAL)


def main(places):
    """Writes the page of the rows in files and folders, and says where it lies."""
    from training.report import leaderboard
    from training.report.leaderboard import site

    site.check_folder(_OUTPUT.value)
    rows = leaderboard.read(places, _PUBLISHED.value)
    rows = leaderboard.select(rows, _MODEL.value, _DATASET.value)
    paths = leaderboard.write(rows, _OUTPUT.value, _REFERENCE.value)
    models = {row["model"] for row in rows}
    print(f"{len(rows):,} rows of {len(models):,} models: {paths[0]} and {paths[1]}")


def run():
    """Entry point of the `zoo-leaderboard` command."""
    common.run(main, takes_words=True)


if __name__ == "__main__":
    run()
