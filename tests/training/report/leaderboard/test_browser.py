"""The page of a leaderboard in a headless Chromium, and without JavaScript."""

import pytest

from tests.helpers import browser, ranked
from training.report import leaderboard

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.find(), reason="needs an installed Chromium"),
]
TABLE = "document.querySelector('section.ranked table.sortable')"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranked")
    rows, _ = ranked.rows(("m.d", "m.d_seed1", "n_smooth.d"), ranked.SETS, sizes=(1, 5))
    rows += [ranked.row("<b>.d", value=0.5), ranked.row("few.d", value=0.01)]
    rows[-1] |= {"num_examples": 3, "commit": None}
    rows += [{**row, "dataset": f"e{row['dataset'][1:]}"} for row in rows[:2]]
    leaderboard.write(rows, folder / "site")
    with browser.chromium(folder / "profile") as page:
        page.path = folder / "site" / "index.html"
        page.boards = leaderboard.build(rows)
        yield page


def shown(tab):
    return tab.run(
        f"[...{TABLE}.tBodies[0].rows].filter(r => getComputedStyle(r).display !== "
        "'none').map(r => r.cells[0].textContent.trim() + ' ' + r.cells[1].textContent)"
    )


@pytest.mark.parametrize("width", [320, 400, 1200])
def test_the_page_fits_and_asks_for_nothing(tab, width):
    tab.open(tab.path, width)
    tab.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run("document.querySelectorAll('svg.front circle').length") > 3
    assert tab.errors == []
    assert tab.requests == []


def test_headings_sort_numbers_with_deviations_and_marks(tab):
    tab.open(tab.path)
    tab.run(f"{TABLE}.querySelectorAll('.names button')[3].click()")
    cells = tab.run(f"[...{TABLE}.tBodies[0].rows].map(r => r.cells[3].textContent)")
    numbers = [float(cell.rstrip("†").partition(" ")[0]) for cell in cells]
    assert numbers == sorted(numbers)
    assert any("±" in cell for cell in cells)
    assert any("†" in cell for cell in cells)
    # What was not measured comes last, whichever way.
    for _ in range(2):
        tab.run(f"{TABLE}.querySelectorAll('.names button')[4].click()")
        cells = tab.run(
            f"[...{TABLE}.tBodies[0].rows].map(r => r.cells[4].textContent)"
        )
        assert cells[-2:] == ["-", "-"]


def test_filters_leave_lines_and_say_what_no_model_has(tab):
    tab.open(tab.path)
    assert len(shown(tab)) == 6

    def search(text):
        tab.run(
            "{ const i = document.querySelector('input[type=search]');"
            f"i.value = {text!r}; i.dispatchEvent(new Event('input')); }}"
        )
        return shown(tab)

    said = "document.querySelector('.filters output').textContent"
    assert search("SMOOTH n_") == ["n_smooth.d 1", "n_smooth.d 5"] or search(
        "SMOOTH n_"
    ) == ["n_smooth.d 5", "n_smooth.d 1"]
    assert tab.run(said) == "2 of 6 lines"
    assert {name.split()[0] for name in search("-smooth")} == {"m.d", "<b>.d", "few.d"}
    assert search("resnet") == []
    assert tab.run(said) == "No model here has “resnet” in its name."
    search("")
    menu = "document.querySelector('.filters select')"
    change = f"{menu}.dispatchEvent(new Event('change'))"
    tab.run(f"{menu}.value = 'most'; {change}")
    assert sorted(shown(tab)) == ["<b>.d 1", "few.d 1", "m.d 5", "n_smooth.d 5"]
    tab.run(f"{menu}.value = '1'; {change}")
    assert sorted(shown(tab)) == ["<b>.d 1", "few.d 1", "m.d 1", "n_smooth.d 1"]
    tab.run("document.querySelector('input[type=checkbox]').click()")
    assert sorted(shown(tab)) == ["<b>.d 1", "m.d 1", "n_smooth.d 1"]


def test_the_front_of_the_script_is_that_of_python(tab):
    tab.open(tab.path)
    board = tab.boards[0]
    for column in board.columns:
        if not column.shown.better:
            continue
        title = f"{column.group}: {column.shown.heading}"
        tab.run(
            "{ const menu = document.querySelector('.fronts select');"
            f"menu.value = [...menu.options].find(o => o.text === {title!r}).value;"
            "menu.dispatchEvent(new Event('change')); }"
        )
        found = tab.run(
            f"[...{TABLE}.tBodies[0].rows].filter(r => r.classList.contains("
            "'front-line')).map(r => r.cells[0].textContent.trim() + ' ' + "
            "r.cells[1].textContent)"
        )
        expected = [f"{x.model} {x.passes}" for x in board.front(column, None)]
        assert sorted(found) == sorted(expected)
        texts = tab.run(
            "[...document.querySelectorAll('.fronts li')].map(x => x.textContent)"
        )
        assert len(texts) == len(expected) or len(texts) > len(expected)


def test_a_single_data_set_is_a_table(tab):
    tab.open(tab.path)
    tab.run("document.querySelector('details.sets').open = true")
    tab.run("new Promise(done => setTimeout(done, 100))")
    box = "document.querySelector('details.sets table')"
    tab.run(
        "{ const menu = document.querySelector('details.sets select');"
        "menu.selectedIndex = [...menu.options].findIndex(o => o.text === 'd_c/fog/3');"
        "menu.dispatchEvent(new Event('change')); }"
    )
    found = tab.run(
        f"[...{box}.tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent))"
    )
    lines = {x.model: x for x in tab.boards[0].lines if x.is_largest}
    assert {line[0] for line in found} == {"m.d", "n_smooth.d"}
    for name, passes, *cells in found:
        assert passes == "5"
        for metric, cell, factor in zip(
            ranked.METRICS, cells, (1, 100, 100), strict=True
        ):
            value = lines[name].by_set["d_c/fog/3", metric]
            mean, _, spread = cell.partition(" ± ")
            assert abs(float(mean) - factor * value.mean) <= 0.006
            assert bool(spread) == (name == "m.d")


def test_it_works_without_javascript(tab):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(tab.path, 400)
    page = tab.call("DOM.getDocument", depth=-1)["root"]
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    text = str(page)
    assert text.count("Pareto fronts") >= 2  # Of both tables, none of them hidden.
    assert "'hidden'" not in text  # An attribute.
    assert text.count("'scope', 'row'") == sum(len(b.lines) for b in tab.boards)


def test_all_tables_are_printed(tab, tmp_path):
    tab.open(tab.path)
    tab.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
