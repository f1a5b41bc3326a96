"""The results in README and docs, made from the packaged presets."""

import pathlib

from training.metrics import METRICS
from training.report import leaderboard
from training.report.leaderboard import data_file
from zoo import dataset_name, registry
from zoo.presets import index
from zoo.publishing import results
from zoo.storage import files

DATA = "docs/leaderboard.json"  # What the page of docs/leaderboard.md is built from.
START, END = "<!-- results -->\n", "<!-- end of results -->\n"
CORRUPTED = "<!-- corrupted -->\n", "<!-- end of corrupted -->\n"
CIFAR = {
    name: (f"<!-- {name} -->\n", f"<!-- end of {name} -->\n")
    for name in ("cifar100", "cifar10")
}
FEW = "<!-- few results -->\n", "<!-- end of few results -->\n"
# What the first screen shows, of which data set: names and passes.
_FIRST_SET = "cifar100"
_FIRST_SET_TITLE = "CIFAR-100"
_FIRST_SCREEN = (
    ("resnet18_smooth", 1),
    ("resnet18_mcdo", 5),
    ("resnet18_smooth_mcdo", 2),
    ("resnet18_smooth_mcdo", 5),
)
# The columns.
SHOWN = tuple(METRICS[name] for name in ("nll", "accuracy", "ece"))


def results_table(dataset: str = "fashion_mnist", images: bool = False) -> str:
    """Returns the results of all presets on their test set as a Markdown table.

    Trainings that differ in the seed are one line, with mean, standard deviation and
    number. A deterministic model, whose passes agree, has one line.

    Args:
        dataset: Name of the test set; in another size it counts, too.
        images: Whether a column says of how many images the values are.

    Returns:
        Lines of Markdown.
    """
    return _table(lambda row: _is_clean(row, dataset), images=images)


def _is_clean(row, dataset):
    name = dataset_name.base_dataset(row["dataset"])
    return (
        name == dataset and not results.is_mean(row) and not results.is_detection(row)
    )


def corrupted_table(
    dataset: str = "fashion_mnist", passes=(2, 10), images: bool = False
) -> str:
    """Returns the means over all corrupted sets as a Markdown table.

    Args:
        dataset: Name of the clean test set; see `results_table`.
        passes: Numbers of passes to show of stochastic models.
        images: Whether a column says of how many images the values are, in all sets.

    Returns:
        Lines of Markdown.
    """
    return _table(lambda row: _is_corrupted(row, dataset), passes, images)


def _is_corrupted(row, dataset="fashion_mnist"):
    name = dataset_name.parse(row["dataset"])
    return name.base == dataset and name.shift == ("c", "*/*")


def detection_table(dataset: str) -> str:
    """Returns the AUROC of the entropy against other data sets as a Markdown table.

    Trainings that differ in the seed are one line; see `results_table`.

    Args:
        dataset: Name of the clean test set.

    Returns:
        Lines of Markdown, with a column for each other data set; "" without results.
    """
    found, others = {}, {}
    for row in _rows():
        name = dataset_name.parse(row["dataset"])
        if name.base == dataset and row["metric"] == "auroc/entropy":
            key = registry.split_seed(row["model"])[0], row["num_samples"]
            cell = found.setdefault(key, {}).setdefault(name.other, {})
            cell[row["model"]] = row["value"]
            others[name.other] = row["num_examples"]
    if not found:
        return ""
    heads = [f"AUROC against {other} (%)" for other in others]
    lines = [f"| model | passes | {' | '.join(heads)} |"]
    lines.append("|---|---:|" + "---:|" * len(heads))
    shown = {}
    for (model, size), cells in found.items():
        if shown.get(model) == cells:  # Of a deterministic model, whose passes agree.
            continue
        shown[model] = cells
        values = [list(cells.get(other, {}).values()) for other in others]
        texts = " | ".join(results.spread(each, 100, 1) for each in values)
        lines.append(f"| `{model}` | {size} | {texts} |")
    return "\n".join(lines) + "\n"


def _images(is_one) -> dict[tuple[str, int], int]:
    """Returns the number of test images by name and passes."""
    return {
        (registry.split_seed(row["model"])[0], row["num_samples"]): row["num_examples"]
        for row in filter(is_one, _rows())
    }


def _table(is_one, passes=None, images=False):
    values, numbers = _values(is_one), _images(is_one) if images else {}
    headings = [metric.heading for metric in SHOWN] + ["images"] * images
    lines = [
        f"| model | passes | {' | '.join(headings)} |",
        "|---|---:|" + "---:|" * len(headings),
    ]
    for name, cells in values.items():
        sizes = sorted({size for size, metric in cells if metric == "nll"})
        if len({tuple(cells[size, "nll"].values()) for size in sizes}) == 1:
            sizes = sizes[:1]
        elif passes:
            sizes = [size for size in sizes if size in passes]
        for size in sizes:
            texts = [
                results.spread(
                    list(cells.get((size, metric.name), {}).values()),
                    metric.factor,
                    metric.digits,
                )
                for metric in SHOWN
            ]
            if images:
                texts.append(f"{numbers[name, size]:,}")
            lines.append(f"| `{name}` | {size} | {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def _rows():
    """Yields the rows of all presets, and those of other seeds on their cards."""
    for name, preset in index.read().items():
        yield from ({"model": name, **row} for row in preset.results)
        yield from preset.others


def _values(chosen) -> dict[str, dict]:
    """Returns values by name of all trainings; passes and metric; and training."""
    found = {}
    for row in filter(chosen, _rows()):
        values = found.setdefault(registry.split_seed(row["model"])[0], {})
        cell = values.setdefault((row["num_samples"], row["metric"]), {})
        cell[row["model"]] = row["value"]
    return found


def commands() -> str:
    """Returns where the presets come from, a line for each, as Markdown."""
    lines = [
        f"* `{name}`: `{preset.command}` at commit `{preset.commit[:10]}`, seed "
        f"{preset.seed}"
        for name, preset in index.read().items()
        if preset.results and preset.commit
    ]
    return "\n".join(lines) + "\n"


def few_results() -> str:
    """Returns four lines of the results as a Markdown table.

    Its heading says what they were measured on, and in which direction they improve.
    """
    _, ruler, *lines = results_table(_FIRST_SET).splitlines(keepends=True)
    starts = tuple(f"| `{x}.{_FIRST_SET}` | {size} |" for x, size in _FIRST_SCREEN)
    images = _images(lambda row: _is_clean(row, _FIRST_SET))
    counts = {images[f"{x}.{_FIRST_SET}", size] for x, size in _FIRST_SCREEN}
    number = " or ".join(f"{count:,}" for count in sorted(counts))
    arrows = {1: "↑", -1: "↓"}
    headings = [f"{metric.heading} {arrows[metric.better]}" for metric in SHOWN]
    title = f"{_FIRST_SET_TITLE}, {number} test images"
    heading = f"| {' | '.join([title, 'passes', *headings])} |\n"
    return "".join([heading, ruler, *(x for x in lines if x.startswith(starts))])


def blocks() -> dict[str, dict[tuple[str, str], str]]:
    """Returns what stands in the documents, by path and the two marks around it."""
    return {
        "README.md": {FEW: few_results()},
        "docs/results.md": {
            (START, END): f"\n{results_table()}\n{_folded(commands())}\n",
            CORRUPTED: f"\n{corrupted_table()}\n{_counts(_is_corrupted)}\n\n",
        },
        "docs/cifar.md": {
            marks: f"\n{_photographs(name)}\n" for name, marks in CIFAR.items()
        },
    }


def leaderboard_data() -> str:
    """Returns the data of our leaderboard: all results of the presets, as JSON."""
    return data_file.text(leaderboard.read([], ours=True))


def _photographs(dataset):
    """Returns the tables of a test set of photographs, those that have results."""
    tables = [results_table(dataset, images=True), detection_table(dataset)]
    if any(_is_corrupted(row, dataset) for row in _rows()):
        tables.append(corrupted_table(dataset, (1, 2, 5, 10), images=True))
    return "\n".join(filter(None, tables))


def _counts(is_one):
    """Returns how many images the rows of a table are of."""
    counts = {
        f"{row['num_examples']:,} images of `{row['dataset']}`": None
        for row in filter(is_one, _rows())
    }
    return ", ".join(counts)


def _folded(text):
    summary = "<summary>How each of them was trained</summary>"
    return f"<details>\n{summary}\n\n{text}\n</details>\n"


def split(path: pathlib.Path, marks=(START, END)) -> tuple[str, str, str]:
    """Returns the text before, between and behind the two marks of a Markdown file.

    Args:
        path: The file.
        marks: The two lines.

    Raises:
        ValueError: If the file has no marks.
    """
    head, start, rest = path.read_text().partition(marks[0])
    middle, end, tail = rest.partition(marks[1])
    if not (start and end):
        raise ValueError(
            f"The file '{path}' has no lines {marks[0]!r} and {marks[1]!r}."
        )
    return head + start, middle, end + tail


def update(root: pathlib.Path):
    """Puts the results of the packaged presets into the documents and their data.

    Args:
        root: The checkout.
    """
    for name, texts in blocks().items():
        for marks, text in texts.items():
            replace(root / name, text, marks)
    with files.replacing(root / DATA) as temporary:
        temporary.write_text(leaderboard_data(), encoding="utf-8")


def replace(path: pathlib.Path, text: str, marks=(START, END)):
    """Puts a text between the marks of a file; it changes whole or not at all."""
    head, _, tail = split(path, marks)
    with files.replacing(path) as temporary:
        temporary.write_text(head + text + tail)
