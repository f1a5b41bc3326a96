"""How well each score tells what a network was not trained on, as Markdown."""

from collections.abc import Iterable, Mapping

from zoo import registry
from zoo.publishing import results

# Name of a metric, and its heading.
SHOWN = {
    "auroc": "AUROC (%)",
    "aupr_in": "AUPR, known (%)",
    "aupr_out": "AUPR, unknown (%)",
    "fpr_95": "FPR95 (%)",
}


def markdown(rows: Iterable[Mapping]) -> str:
    """Returns a table of all scores for each pair of data sets.

    A network has its largest number of passes. Trainings that differ in the seed are
    one line, with mean, standard deviation and number.

    Args:
        rows: Rows of `zoo-evaluate --ood`, those of other seeds under names of their
            own; see `zoo.publishing.results`.

    Returns:
        Lines of Markdown.

    Raises:
        ValueError: If no row is of such a pair.
    """
    values, largest = {}, {}
    for row in filter(results.is_detection, rows):
        metric, _, score = row["metric"].partition("/")
        if metric not in SHOWN:
            continue
        line = row["dataset"], registry.split_seed(row["model"])[0], score
        if row["num_samples"] > largest.get(line, 0):
            largest[line] = row["num_samples"]
            values[line] = {}
        if row["num_samples"] == largest[line]:
            values[line].setdefault(metric, {})[row["model"]] = row["value"]
    if not values:
        raise ValueError(
            "Tables of detection need rows of `zoo-evaluate --ood`. Received: none"
        )
    pairs = dict.fromkeys(pair for pair, *_ in values)
    return "\n".join(_table(pair, values, largest) for pair in pairs)


def _table(pair, values, largest) -> str:
    headings = ["network", "passes", "score", *SHOWN.values()]
    lines = [headings, ["---", "---:", "---", *["---:"] * len(SHOWN)]]
    for line, cells in values.items():
        if line[0] == pair:
            texts = [
                results.spread(list(cells.get(metric, {}).values()), 100, 1)
                for metric in SHOWN
            ]
            lines.append([f"`{line[1]}`", str(largest[line]), line[2], *texts])
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"`{pair}`:\n\n{text}"
