"""The page in a headless Chromium: loads, decodes, sorts, fits on a telephone."""

import numpy as np
import pytest

from tests.helpers import browser, reports
from training import corruptions, data, metrics, report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.find(), reason="needs an installed Chromium"),
]
LONG = "resnet110_smooth_mcdo_blurpool_with_a_name_that_is_long.fashion_mnist"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    names = ("resnet20.fashion_mnist", "<b>.fashion_mnist", LONG)
    rows = reports.benchmark(names)
    labels = reports.store_benchmark(folder / "predictions", names)
    pixels = np.random.default_rng(0).integers(
        0, 256, (len(labels), 70, 70, 1), "uint8"
    )
    classes = ("<i>no</i>" + "a" * 50, *"bcdefghij")
    images = data.ImageData("fashion_mnist", pixels, labels, classes)
    report.html(rows, folder / "predictions", folder / "report.html", images)
    with browser.chromium(folder / "profile") as page:
        page.path = folder / "report.html"
        yield page


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_loads_without_errors_requests_or_broken_images(tab, width):
    tab.open(tab.path, width)
    count = tab.run(
        "Promise.all([...document.images].map(i => i.decode()))"
        ".then(() => [...document.images].filter(i => i.naturalWidth > 50).length)"
    )
    assert count == tab.run("document.images.length") > 50
    assert tab.run("[...document.images].every(i => i.alt.length > 20)")
    assert tab.errors == []
    assert tab.requests == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(tab, width):
    tab.open(tab.path, width)
    tab.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    menus = tab.run("document.querySelectorAll('select').length")
    assert menus >= 4
    for choice in (0, 1, 2):
        tab.run(
            "document.querySelectorAll('select').forEach(s => {"
            f"s.selectedIndex = {choice}; s.dispatchEvent(new Event('change')); }})"
        )
        assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.run("innerWidth") == width


def test_a_whole_benchmark_is_a_page_of_a_few_megabytes(tab, tmp_path):
    names = [f"resnet20{method}" for method in ("", "_mcdo", "_smooth", "_smooth_mcdo")]
    rows = reports.benchmark(names, tuple(corruptions.CORRUPTIONS))
    for row in [r for r in rows if r["metric"] == "nll"]:
        rows += [{**row, "metric": name} for name in list(metrics.CLASSIFICATION)[4:]]
    folder, path = tmp_path / "predictions", tmp_path / "report.html"
    reports.store_benchmark(folder, names, tuple(corruptions.CORRUPTIONS), 100)
    report.html(rows, folder, path)
    assert len({row["dataset"] for row in rows}) == 1 + 95 + 3 + 2 + 2
    assert path.stat().st_size < 3e6
    tab.open(path, 390)
    tab.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert tab.run("document.documentElement.scrollWidth") <= 390
    assert tab.errors == []


def column(tab, number, table=0):
    return tab.run(
        f"[...document.querySelectorAll('table.sortable')[{table}].tBodies[0].rows]"
        f".map(row => row.cells[{number}].textContent)"
    )


def click(tab, number, table=0):
    tab.run(
        f"document.querySelectorAll('table.sortable')[{table}]"
        f".querySelectorAll('.names th button')[{number}].click()"
    )


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_around(tab):
    tab.open(tab.path)
    for number in (0, 2, 3):
        shown = column(tab, number)
        key = str if number == 0 else float
        click(tab, number)
        assert column(tab, number) == sorted(shown, key=key)
        click(tab, number)
        assert column(tab, number) == sorted(shown, key=key, reverse=True)
        assert tab.run("document.querySelectorAll('[aria-sort]').length") == 1


def test_lines_without_a_value_come_last_both_ways_and_lines_stay_whole(tab, tmp_path):
    rows = [
        reports.row(model, metric=metric, value=value)
        for model, nll, accuracy in (("a", 10, 0.1), ("b", None, 0.2), ("c", 9, 0.3))
        for metric, value in (("nll", nll), ("accuracy", accuracy))
        if value is not None
    ]
    report.html(rows, None, tmp_path / "report.html")
    tab.open(tmp_path / "report.html")
    assert column(tab, 3) == ["10.0000", "-", "9.0000"]
    for order in ("cab", "acb"):
        click(tab, 3)
        assert column(tab, 0) == list(order)
        expected = [{"a": "10.00", "b": "20.00", "c": "30.00"}[name] for name in order]
        assert column(tab, 2) == expected


def test_a_menu_shows_one_part_and_all_are_printed(tab, tmp_path):
    tab.open(tab.path)
    visible = "[...document.querySelectorAll('[data-choice=Metric] > *')].map("
    visible += "part => getComputedStyle(part).display !== 'none')"
    assert tab.run(visible) == [True, False, False]
    tab.run(
        "{ const menu = document.querySelector('#corruptions select');"
        "menu.selectedIndex = 1; menu.dispatchEvent(new Event('change')); }"
    )
    assert tab.run(visible) == [False, True, False]
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.run(visible) == [True, True, True]
    tab.call("Emulation.setEmulatedMedia", media="")
    tab.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
