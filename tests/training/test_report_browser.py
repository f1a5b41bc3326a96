"""The page in a headless Chromium: loads, decodes, sorts, fits on a telephone."""

import pytest

from tests import browser
from tests.training import reports
from training import report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.find(), reason="needs an installed Chromium"),
]
LONG = "resnet110_smooth_mcdo_blurpool_with_a_name_that_is_long.fashion_mnist"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    rows = reports.benchmark(("resnet20.fashion_mnist", "<b>.fashion_mnist", LONG))
    report.html(rows, None, folder / "report.html")
    with browser.chromium(folder / "profile") as page:
        page.path = folder / "report.html"
        yield page


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_loads_without_errors_requests_or_broken_images(tab, width):
    tab.open(tab.path, width)
    count = tab.run(
        "Promise.all([...document.images].map(i => i.decode()))"
        ".then(() => [...document.images].filter(i => i.naturalWidth > 100).length)"
    )
    assert count == tab.run("document.images.length") > 5
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
