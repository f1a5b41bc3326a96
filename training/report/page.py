"""The page `report.html`: everything about an evaluation, in one file."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping

from training.report import (
    about,
    boxes,
    confidence,
    curves,
    heat_maps,
    html_tables,
    maps,
    mistakes,
)
from training.report.figures import Chart
from training.report.result_set import Results
from training.report.rows import write_text

ASSETS = pathlib.Path(__file__).parents[1] / "assets" / "report"


@dataclasses.dataclass(frozen=True)
class Group:
    """Charts under one heading.

    Attributes:
        heading: Above the charts; may be empty.
        charts: The charts.
    """

    heading: str
    charts: list[Chart]


def html(
    rows: Iterable[Mapping],
    predictions: str | os.PathLike | None,
    path: str | os.PathLike,
    images=None,
    command: str | None = None,
):
    """Writes a page that shows an evaluation; it needs no other file and no network.

    What the rows and predictions do not tell is left out.

    Args:
        rows: Rows of `training.evaluation.evaluate.evaluate`.
        predictions: The folder of the stored predictions, or None.
        path: Path of the page, which appears whole or not at all.
        images: The data sets from which the mistakes are shown, one
            `training.data.ImageData` or several. By default they are loaded by name.
        command: What made the rows; by default the command of this process.

    Raises:
        ValueError: If there are no rows.
    """
    results = Results(rows)
    if not results.rows:
        raise ValueError("A report needs rows of an evaluation. Received: rows=[]")
    content = {
        "headline": html_tables.headline(results),
        "ranked": html_tables.ranked(results),
        "sizes": _sizes(results),
        "corruptions": _corruptions(results),
        "boxes": _boxes(results),
        "shifts": _shifts(results),
        "attacks": _attacks(results),
        "detection": html_tables.values(results, results.of_kind("detection")),
        "tables": _tables(results),
        **_predicted(results, predictions, images),
        "definitions": about.definitions(results),
        "provenance": about.provenance(results, command),
        "labels": results.labels(),
        "datasets": results.datasets,
    }
    write_text(render("page.html", content), path)


def render(template: str, content: Mapping) -> str:
    """Returns the text of a page.

    Args:
        template: Name of a file in `ASSETS`.
        content: What it shows, by the names that it has there.
    """
    import jinja2
    import markupsafe

    def code(text):
        parts = str(markupsafe.escape(text)).split("`")
        marked = (f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))
        return markupsafe.Markup("".join(marked))

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code
    return environment.get_template(template).render(content)


def _sizes(results):
    groups = [
        Group(name, curves.ensemble_size(results, name))
        for name in map(str, results.of_kind("clean"))
    ]
    return [group for group in groups if group.charts]


def _corruptions(results):
    """Returns the heat maps of each clean data set: of each metric those there are."""
    found = {}
    for base in results.bases("corruption"):
        maps = [heat_maps.heat_maps(results, base, m) for m in curves.drawn(results)]
        if any(maps):
            found[base] = [m for m in maps if m]
    return found


def _boxes(results):
    groups = [
        Group(base, boxes.charts(results, base)) for base in results.bases("corruption")
    ]
    return [group for group in groups if group.charts]


def _shifts(results):
    groups = [
        Group(f"{base}, {kind}", curves.shift(results, kind, base))
        for kind in ("rotation", "translation")
        for base in results.bases(kind)
    ]
    return [group for group in groups if group.charts]


def _attacks(results):
    groups = [
        Group(
            f"{base}, {_settings(results, change)}",
            curves.attack(results, change, base),
        )
        for base in results.bases("attack")
        for change in dict.fromkeys(d.change for d in results.of_kind("attack", base))
    ]
    return [group for group in groups if group.charts]


def _settings(results, change):
    """Returns an attack and its settings in words."""
    name, norm = change.split()
    words = {f"{name.upper()} in {norm}": None}
    for row in results.rows:
        if row.get("attack") == name and row.get("attack_norm") == norm:
            counts = (("steps", "step"), ("restarts", "start"), ("draws", "draw"))
            words |= {
                f"{row[key]} {word}{'s' * (row[key] > 1)}": None for key, word in counts
            }
    return ", ".join(words)


def _predicted(results, folder, images):
    """Returns the sections that need the predictions; without them, empty ones."""
    sections = {"mistakes": {}, **{section: [] for section in _CHARTS}}
    if folder is None:
        return sections
    stored = confidence.Stored(results, folder)
    for name in map(str, results.of_kind("clean")):
        drawn = stored.task(name).draws
        for section in filter(drawn.__contains__, _CHARTS):
            if charts := _CHARTS[section](stored, name, images):
                sections[section].append(Group(name, charts))
        if "mistakes" in drawn and (
            found := mistakes.most_confident(stored, name, images)
        ):
            sections["mistakes"][name] = found
    return sections


def _thresholds(stored, name, images):
    above = confidence.thresholds(stored, name)
    return above + confidence.risk_coverage(stored, name)


# Sections of charts: functions of predictions, the name of a data set, and images.
_CHARTS = {
    "reliability": lambda stored, name, images: confidence.reliability(stored, name),
    "thresholds": _thresholds,
    "entropies": lambda stored, name, images: confidence.entropies(stored, name),
    "maps": maps.charts,
}


def _tables(results):
    """Returns tables of all values, one for each kind of data set."""
    tables = {
        heading: html_tables.values(
            results, [d for d in results.datasets.values() if d.kind in kinds]
        )
        for heading, kinds in _TABLES.items()
    }
    tables["Each class"] = html_tables.by_class(results)
    return {heading: table for heading, table in tables.items() if table}


_TABLES = {
    "Summaries of all corruptions": ("aggregate",),
    "Sequences of perturbations": ("sequence",),
    "Attacks": ("attack",),
    "Each test set": ("clean", "corruption", "rotation", "translation"),
}
