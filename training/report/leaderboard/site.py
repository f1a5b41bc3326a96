"""The page of a leaderboard, its data and the cards of its models."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from training.metrics import display
from training.report import page
from training.report.html_tables import Field, Grid, spans
from training.report.leaderboard import boards, by_set, data_file, published
from training.report.leaderboard.boards import COST, Board, Column, Line
from training.report.rows import write_text
from zoo.presets.provenance import CARD
from zoo.storage import files, remote

_PAGE, _CARDS = "index.html", "cards"
_MARK = "\N{DAGGER}"  # At values that are not compared.
_PASSES = "passes"


def write(
    rows: Sequence[Mapping],
    folder: str | os.PathLike,
    references: Sequence[str] = (),
) -> list[pathlib.Path]:
    """Writes a folder that any server of files shows, or a browser from a disk.

    It is `index.html`, which needs no other file and no network; `leaderboard.json`,
    all rows that the page shows, which `zoo-leaderboard` reads again; and `cards/`, the
    model cards of those that are published with this package.

    Args:
        rows: Rows of `training.report.leaderboard.read`.
        folder: A new or empty folder, or one of an earlier call.
        references: As `training.report.leaderboard.build` takes them.

    Returns:
        The paths of the files.

    Raises:
        ValueError: If the folder is of something else, or there are no tables.
    """
    folder = pathlib.Path(folder)
    check_folder(folder)
    found = boards.build(rows, references)
    cards = _cards(found)
    links = {f"{CARD}{name}": _place(name) for name in cards}
    paths = [folder / _PAGE, folder / data_file.FILE]
    data_file.write(rows, paths[1])  # By which a folder is known as one of these.
    write_text(html(found, links), paths[0])
    if cards:
        with files.replacing(folder / _CARDS) as temporary:
            temporary.mkdir()
            for name, text in cards.items():
                content = page.render("card.html", {"name": name, "text": text})
                place = temporary / pathlib.PurePosixPath(_place(name)).name
                place.write_text(content, encoding="utf-8")
        paths += [folder / _place(name) for name in cards]
    return paths


def check_folder(folder: str | os.PathLike):
    """Checks that a folder is new, empty or that of a leaderboard.

    Raises:
        ValueError: If it holds something else, or is a file.
    """
    remote.check_folder(folder, (data_file.FILE,), "a leaderboard")


def _cards(found) -> dict[str, str]:
    """Returns the cards of packaged models as Markdown, by their names."""
    named = {
        card: None for board in found for line in board.lines for card in line.cards
    }
    names = [c.removeprefix(CARD) for c in named if _is_packaged(c)]
    cards = {name: published.card(name) for name in names}
    return {name: text for name, text in cards.items() if text}


def _is_packaged(card):
    return card.startswith(CARD)


def _place(name):
    return f"{_CARDS}/{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.html"


def html(found: Sequence[Board], links: Mapping[str, str] | None = None) -> str:
    """Returns the page of some boards.

    Args:
        found: The boards.
        links: Where packaged cards are, by what `cards` of lines call them.
    """
    return page.render(
        "leaderboard.html",
        {
            "boards": [_shown(board, links or {}) for board in found],
            "data": data_file.FILE,
            "mark": _MARK,
        },
    )


@dataclasses.dataclass(frozen=True)
class _Shown:
    """What the page has of a board.

    Attributes:
        name: Name of the data set.
        grid: The table.
        columns: Of each column of it, what a script needs to know.
        lines: The same of each line.
        fronts: Headings, and texts of the lines on a front.
        values: Those of single data sets as JSON, or "".
    """

    name: str
    grid: Grid
    columns: list[dict]
    lines: list[dict]
    fronts: dict[str, list[str]]
    values: str


def _shown(board: Board, links) -> _Shown:
    groups = spans(["", "", "", *(_group(board, each) for each in board.columns)])
    best = {column: _best(board, column) for column in board.columns}
    heading = ["Model", "Passes", "Trainings"]
    heading += [column.shown.heading for column in board.columns]
    return _Shown(
        name=board.name,
        grid=Grid(
            [*heading, "Lacks", "Choices made on"],
            [_fields(board, line, best, links) for line in board.lines],
            1,
            [*groups, ("", 2)],
        ),
        columns=[
            {"title": "Model"},
            {"title": _PASSES, "better": -1, "cost": True},
            {"title": "trainings"},
            *map(_known, board.columns),
            *({"title": title} for title in ("lacks", "choices")),
        ],
        lines=[
            {
                "passes": line.passes,
                "most": line.is_largest,
                "whole": not line.missing,
            }
            for line in board.lines
        ],
        fronts=_fronts(board),
        values=_json(by_set.values(board)),
    )


def _known(column: Column) -> dict:
    heading, is_cost = column.shown.heading, column.group == COST
    title = heading if is_cost else f"{column.group}: {heading}"
    return {"title": title, "better": column.shown.better, "cost": is_cost}


def _group(board, column) -> str:
    counts = [
        line.values[column].images or 0 for line in board.lines if column in line.values
    ]
    most = max(counts, default=0)
    return f"{column.group}: {most:,} images" if most else column.group


def _best(board, column) -> str | None:
    """Returns the text of the best value of a column, where two are compared."""
    way = column.shown.better
    numbers = [line.value(column) for line in board.lines]
    known = [number for number in numbers if number == number]  # None of them is NaN.
    if not way or len(known) < 2:
        return None
    return display.text(column.shown, max(known, key=lambda number: way * number))


def _fields(board, line: Line, best, links) -> list[Field]:
    link = next(filter(None, (_link(card, links) for card in line.cards)), "")
    trainings, seeds = len(line.trainings), line.seeds
    said = f"{trainings}, {seeds} seeds" if seeds > 1 else str(trainings)
    commits = f"Commits: {', '.join(line.commits)}." if line.commits else ""
    return [
        Field(line.model, None, link=link, note=line.variant),
        Field(str(line.passes), None),
        Field(said, None, title=", ".join(line.trainings)),
        *(_field(board, line, column, best[column]) for column in board.columns),
        Field(", ".join(line.missing) or "nothing", None, title=commits),
        Field("; ".join(line.choices) or "-", None),
    ]


def _field(board, line, column, best) -> Field:
    value = line.values.get(column)
    if value is None:
        return Field("-", None)
    number = display.text(column.shown, value.mean)
    text = number
    if value.deviation is not None:
        text += f" ± {display.text(column.shown, value.deviation)}"
    title = f"{value.count} values" if value.count > 1 else ""
    if not value.is_comparable:
        count = "an unknown number of" if value.images is None else f"{value.images:,}"
        return Field(text, None, title=f"of {count} images", note=_MARK)
    return Field(text, None, number == best, title=title)


def _link(card, links) -> str:
    """Returns the address of a card, of those that are safe to follow."""
    is_address = re.fullmatch(r"https?://[^\s<>\"']+", card)
    return card if is_address else links.get(card, "")


def _fronts(board) -> dict[str, list[str]]:
    """Returns the fronts of the first quality against each cost, in words."""
    first = next((c for c in board.columns if c.metric == "nll"), None)
    if first is None:
        return {}
    costs = [None, *(column for column in board.columns if column.group == COST)]
    found = {}
    for cost in costs:
        words = cost.shown.heading if cost else _PASSES
        heading = f"{_known(first)['title']} against {words}"
        lines = board.front(first, cost)
        if lines:
            found[heading] = [_words(line, first, cost) for line in lines]
    return found


def _words(line, quality, cost) -> str:
    text = f"{line.model} at {line.passes} pass{'es' if line.passes > 1 else ''}"
    if cost:
        text += f", {display.text(cost.shown, line.value(cost))}"
    return f"{text}: {display.text(quality.shown, line.value(quality))}"


def _json(values) -> str:
    """Returns values as JSON that can stand inside of an element of a page."""
    if values is None:
        return ""
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
