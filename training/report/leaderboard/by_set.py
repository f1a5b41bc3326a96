"""The values of single data sets, as few letters that a script reads."""

from training.metrics.table import METRICS
from training.report.leaderboard.boards import Board

# In the order of the columns.
_SHOWN = ("nll", "accuracy", "ece", "aurc", "raulc")


def values(board: Board) -> dict | None:
    """Returns the values of the largest ensembles on each data set.

    Args:
        board: A table.

    Returns:
        `sets`, their names; `metrics`, each with `heading`, `digits` and `better`; and
        by the number of a line in `means` and in `deviations` a list for each metric.
        It has an integer for each set, the value in the unit of the heading times ten
        to the power of the digits, or None. None if there is one set alone.
    """
    lines = {number: line for number, line in enumerate(board.lines) if line.is_largest}
    places = {place: None for line in lines.values() for place in line.by_set}
    sets = list(dict.fromkeys(name for name, _ in places))
    metrics = [
        METRICS[name] for name in _SHOWN if any(metric == name for _, metric in places)
    ]
    if len(sets) < 2 or not metrics:
        return None
    means, deviations = {}, {}
    for number, line in lines.items():
        means[number] = _numbers(line, sets, metrics, lambda value: value.mean)
        spread = _numbers(line, sets, metrics, lambda value: value.deviation)
        if any(number is not None for of_metric in spread for number in of_metric):
            deviations[number] = spread
    return {
        "sets": sets,
        "metrics": [
            {"heading": m.heading, "digits": m.digits, "better": m.better}
            for m in metrics
        ],
        "means": means,
        "deviations": deviations,
    }


def _numbers(line, sets, metrics, part):
    return [
        [_integer(line.by_set.get((name, metric.name)), metric, part) for name in sets]
        for metric in metrics
    ]


def _integer(value, metric, part):
    number = None if value is None else part(value)
    if number is None:
        return None
    return round(number * metric.factor * 10**metric.digits)
