"""Heat maps: tables of corruption by severity whose cells are colored."""

import dataclasses
import itertools
import math

from training.metrics import display
from training.report.result_set import Results

# The palest and the darkest color; the words on a cell are black or white.
_ONE_WAY = ((255, 250, 230), (247, 193, 110), (213, 94, 0), (94, 33, 0))
# From "the first is better" to "the second is better".
_TWO_WAYS = ((213, 94, 0), (255, 255, 255), (0, 114, 178))
# Maximal number of models to compare in pairs; beyond it, each is compared with the
# first.
_MANY = 6


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell: its text, and its background and text colors."""

    text: str
    background: str
    color: str


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """A table of cells.

    Attributes:
        title: What it shows.
        severities: The heading, over the columns.
        lines: The cells of each corruption, its mean last.
    """

    title: str
    severities: list[int]
    lines: dict[str, list[Cell]]


@dataclasses.dataclass(frozen=True)
class Scale:
    """What a color means: texts and colors from one end to the other."""

    steps: list[Cell]


@dataclasses.dataclass(frozen=True)
class HeatMaps:
    """The heat maps of a metric: one for each model, and the differences of pairs."""

    heading: str
    scale: Scale
    maps: list[HeatMap]
    difference_scale: Scale | None
    differences: list[HeatMap]


def heat_maps(results: Results, base: str, metric: str) -> HeatMaps | None:
    """Returns the heat maps of a metric, all on one scale; darker is worse.

    Args:
        results: The values.
        base: Name of the clean data set.
        metric: Name of the metric.

    Returns:
        The maps, or None if no value is there.
    """
    grids = {
        label: _grid(results, model, base, metric)
        for model, label in results.labels().items()
    }
    grids = {label: grid for label, grid in grids.items() if _numbers(grid)}
    if not grids:
        return None
    severities = sorted({int(d.amount) for d in results.of_kind("corruption", base)})
    numbers = [v for grid in grids.values() for v in _numbers(grid)]
    low, high = min(numbers), max(numbers)
    worse = -1 if display.better(metric) > 0 else 1

    def one_way(value):
        place = 0.5 if high == low else (value - low) / (high - low)
        return _cell(metric, value, place if worse > 0 else 1 - place, _ONE_WAY)

    maps = [HeatMap(k, severities, _colored(g, one_way)) for k, g in grids.items()]
    scale = Scale([one_way(low + i / 4 * (high - low)) for i in range(5)])
    return HeatMaps(
        display.heading(metric), scale, maps, *_differences(grids, metric, severities)
    )


def _differences(grids, metric, severities):
    grids = list(grids.items())
    pairs = list(itertools.combinations(grids, 2))
    if len(grids) > _MANY:
        pairs = [(grids[0], other) for other in grids[1:]]
    gaps = {
        f"{second} minus {first}": {
            name: [b - a for a, b in zip(line, theirs[name], strict=True)]
            for name, line in ours.items()
        }
        for (first, ours), (second, theirs) in pairs
    }
    if not gaps:
        return None, []
    numbers = [abs(v) for gap in gaps.values() for v in _numbers(gap)]
    limit = max(numbers, default=0)
    sign = display.better(metric) or -1

    def two_ways(value):
        place = 0.5 + 0.5 * sign * value / limit if limit else 0.5
        cell = _cell(metric, value, place, _TWO_WAYS)
        plus = "+" if value > 0 and cell.text.strip("0.") else ""
        return dataclasses.replace(cell, text=plus + cell.text)

    maps = [HeatMap(k, severities, _colored(gap, two_ways)) for k, gap in gaps.items()]
    return Scale([two_ways(i * sign / 2 * limit) for i in range(-2, 3)]), maps


def _grid(results, model, base, metric):
    """Returns values by corruption: one for each severity, then their mean."""
    sets = results.of_kind("corruption", base)
    severities = sorted({data.amount for data in sets})
    names = {(data.change, data.amount): str(data) for data in sets}
    grid = {}
    for corruption in dict.fromkeys(data.change for data in sets):
        line = [
            results.value(model, names.get((corruption, severity), ""), metric)
            for severity in severities
        ]
        grid[corruption] = [*line, math.fsum(line) / len(line)]
    return grid


def _numbers(grid):
    return [v for line in grid.values() for v in line if math.isfinite(v)]


def _colored(grid, function):
    return {name: [function(v) for v in line] for name, line in grid.items()}


def _cell(metric, value, place, colors):
    text = display.number(metric, value, short=True)
    if not math.isfinite(value):
        return Cell(text, "#f0f0f0", "#000000")
    rgb = _mixed(place, colors)
    linear = [(channel / 255) ** 2.2 for channel in rgb]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    color = "#000000" if light > 0.18 else "#ffffff"
    return Cell(text, "#" + "".join(f"{channel:02x}" for channel in rgb), color)


def _mixed(place, colors):
    """Returns the color at a place in `[0, 1]` between colors of equal distances."""
    place = min(max(place, 0.0), 1.0) * (len(colors) - 1)
    index = min(int(place), len(colors) - 2)
    share = place - index
    ends = zip(colors[index], colors[index + 1], strict=True)
    return [round(a + share * (b - a)) for a, b in ends]
