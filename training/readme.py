"""The results in the README, made from the packaged presets."""

import pathlib

from zoo import files, presets

START, END = "<!-- results -->\n", "<!-- end of results -->\n"
METRICS = {"nll": "NLL (nats)", "accuracy": "accuracy (%)", "ece": "ECE (%)"}


def results_table(dataset: str = "fashion_mnist") -> str:
    """Returns the results of all presets on a test set as a Markdown table.

    A deterministic model, whose passes agree, has one line.

    Args:
        dataset: Name of the test set.

    Returns:
        Lines of Markdown.
    """
    lines = [
        f"| model | passes | {' | '.join(METRICS.values())} |",
        "|---|---:|" + "---:|" * len(METRICS),
    ]
    for name, preset in presets.read().items():
        values = {
            (row["num_samples"], row["metric"]): row["value"]
            for row in preset.results
            if row["dataset"] == dataset
        }
        sizes = sorted({size for size, metric in values if metric == "nll"})
        if len({values[size, "nll"] for size in sizes}) == 1:
            sizes = sizes[:1]
        for size in sizes:
            nll, accuracy, ece = (values[size, metric] for metric in METRICS)
            lines.append(
                f"| `{name}` | {size} | {nll:.4f} | {100 * accuracy:.2f} | "
                f"{100 * ece:.2f} |"
            )
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Returns where the presets come from, a line for each, as Markdown."""
    lines = [
        f"* `{name}`: `{preset.command}` at commit `{preset.commit[:10]}`, seed "
        f"{preset.seed}"
        for name, preset in presets.read().items()
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
