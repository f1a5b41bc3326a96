"""The results in the README, made from the packaged presets."""

import pathlib

from zoo import files, presets, records, results, seeds

START, END = "<!-- results -->\n", "<!-- end of results -->\n"
# Metric, title of the column, factor, decimals.
METRICS = {
    "nll": ("NLL (nats)", 1, 4),
    "accuracy": ("accuracy (%)", 100, 2),
    "ece": ("ECE (%)", 100, 2),
}


def results_table(dataset: str = "fashion_mnist") -> str:
    """Returns the results of all presets on their test set as a Markdown table.

    Trainings that differ in the seed are one line, with mean, standard deviation and
    number. A deterministic model, whose passes agree, has one line.

    Args:
        dataset: Name of the test set; in another size it counts, too.

    Returns:
        Lines of Markdown.
    """
    lines = [
        f"| model | passes | {' | '.join(title for title, *_ in METRICS.values())} |",
        "|---|---:|" + "---:|" * len(METRICS),
    ]
    for name, values in _values(dataset).items():
        sizes = sorted({size for size, metric in values if metric == "nll"})
        if len({tuple(values[size, "nll"].values()) for size in sizes}) == 1:
            sizes = sizes[:1]
        for size in sizes:
            cells = [
                results.spread(list(values.get((size, metric), {}).values()), *numbers)
                for metric, (_, *numbers) in METRICS.items()
            ]
            lines.append(f"| `{name}` | {size} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _values(dataset) -> dict[str, dict]:
    """Returns values by name of all trainings; passes and metric; and training."""
    found = {}
    for name, preset in presets.read().items():
        rows = [{"model": name, **row} for row in preset.results]
        for row in (*rows, *preset.others):
            if records.base_dataset(row["dataset"]) != dataset or results.is_mean(row):
                continue
            values = found.setdefault(seeds.split(name)[0], {})
            cell = values.setdefault((row["num_samples"], row["metric"]), {})
            cell[row["model"]] = row["value"]
    return found


def commands() -> str:
    """Returns where the presets come from, a line for each, as Markdown."""
    lines = [
        f"* `{name}`: `{preset.command}` at commit `{preset.commit[:10]}`, seed "
        f"{preset.seed}"
        for name, preset in presets.read().items()
        if preset.results
    ]
    return "\n".join(lines) + "\n"


def block() -> str:
    """Returns what stands between the two marks of the README."""
    return f"\n{results_table()}\n{commands()}\n"


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


def update(path: pathlib.Path):
    """Puts the results of the packaged presets between the marks of a file."""
    replace(path, block())


def replace(path: pathlib.Path, text: str, marks=(START, END)):
    """Puts a text between the marks of a file; it changes whole or not at all."""
    head, _, tail = split(path, marks)
    with files.replacing(path) as temporary:
        temporary.write_text(head + text + tail)
