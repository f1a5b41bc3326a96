"""The page: its text and size, its links, its folder, and what is published."""

import json
import re

import pytest

from tests.helpers import ranked
from training import report
from training.report import leaderboard
from training.report.leaderboard import site

NAMES = ("m.d", "m.d_seed1", "n.d")


def write(rows, folder, **options):
    leaderboard.write(rows, folder, **options)
    return (folder / "index.html").read_text(encoding="utf-8")


def lines(page, number=0):
    """The texts of the cells of a table, by line; the first is a heading."""
    table = re.findall(r'<table class="sortable">.*?</table>', page, re.S)[number]
    body = table.partition("<tbody>")[2]
    found = re.findall(r"<tr.*?</tr>", body, re.S)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.S) for line in found]
    return [[re.sub("<[^>]+>", "", cell) for cell in line] for line in cells]


def test_the_page_has_the_values_and_marks(tmp_path):
    rows, values = ranked.rows(NAMES, sizes=(1, 5))
    rows.append(ranked.row("o.d", value=0.123456, num_examples=7, data=None))
    page = write(rows, tmp_path / "site")
    found = {(line[0], line[1]): line for line in lines(page)}
    own = values[:2, 0, :, 1, 0]
    means, spreads = own.mean(axis=0), own.std(axis=0, ddof=1)
    assert found["m.d", "5"][2:6] == [
        "2",
        f"{means[0]:.4f} ± {spreads[0]:.4f}",
        *(f"{100 * means[i]:.2f} ± {100 * spreads[i]:.2f}" for i in (1, 2)),
    ]
    assert found["m.d", "5"][-2:] == ["nothing", "validation: 500 images"]
    assert found["o.d", "1"][3:] == [
        *("0.1235†", "-", "-", "data fingerprint", "validation: 500 images")
    ]
    best = re.findall(r'<td class="[^"]*best"[^>]*>([^<]*)<', page)
    nlls = [line[3].partition(" ")[0] for line in found.values() if "†" not in line[3]]
    assert best[0].partition(" ")[0] == min(nlls, key=float)
    assert len(best) == 3
    assert re.findall(r'class="group start">([^<]*)<', page) == ["d: 1,000 images"]
    headings = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', page)
    assert headings[:5] == [
        "Model",
        "Passes",
        "Trainings",
        "NLL (nats)",
        "Accuracy (%)",
    ]
    assert page.count('<th scope="row"') == len(found) == 5
    fronts = page.partition("Pareto fronts")[2].partition("</dl>")[0]
    assert "<dt>d: NLL (nats) against passes</dt>" in fronts
    for line in re.findall("<li>(.*?)</li>", fronts):
        assert "†" not in line
        model, passes = re.fullmatch(
            r"(\S+) at (\d) pass(?:es)?: 0\.\d{4}", line
        ).groups()
        assert (model, passes) in found


def test_names_are_text_and_links_lead_to_addresses_alone(tmp_path):
    script = "</script><script>alert(1)</script>"
    cards = {"a.d": "https://example.org/a?b=1", "b.d": "javascript:alert(1)"}
    cards |= {"c.d": 'https://x.org/"onclick="alert(1)', f"{script}.d": "zoo:nobody"}
    rows, _ = ranked.rows(list(cards), (f"d{script}", f"d{script}_c/fog/1"))
    rows = [{**row, "card": cards[row["model"]]} for row in rows]
    page = write(rows, tmp_path / "site")
    assert "alert(1)</script>" not in page
    assert re.findall('href="([^"]*)"', page) == [
        *("data:,", "leaderboard.json", "https://example.org/a?b=1"),
        "leaderboard.json",
    ]
    data = re.search('<script type="application/json">(.*?)</script>', page)[1]
    assert f"d{script}" in json.loads(data)["sets"]
    assert not (tmp_path / "site" / "cards").exists()


def test_a_page_of_200_models_and_123_sets_has_less_than_2_mb(tmp_path):
    names = [f"resnet{i}_smooth_mcdo_of_a_long_name.d" for i in range(200)]
    rows, _ = ranked.rows(names, ranked.SETS, ("nll",))
    assert len(rows) == 200 * 123
    page = write(rows, tmp_path / "site")
    assert len(page.encode()) < 1e6
    data = re.search('<script type="application/json">(.*?)</script>', page)[1]
    # All metrics, and deviations of each, are ten times as much at most.
    rest = len(page.encode()) - len(data.encode())
    assert rest + 10 * len(data.encode()) < 2e6


@pytest.mark.slow
def test_a_page_with_all_metrics_and_deviations_has_less_than_2_mb(tmp_path):
    names = [f"resnet{i}.d{s}" for i in range(200) for s in ("", "_seed1")]
    metrics = ("nll", "accuracy", "ece", "aurc", "raulc")
    rows, _ = ranked.rows(names, ranked.SETS, metrics)
    assert len(write(rows, tmp_path / "site").encode()) < 2e6


def test_folders_of_something_else_are_left_alone(tmp_path):
    rows, _ = ranked.rows(NAMES)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("text")
    with pytest.raises(ValueError, match=r"mine' is not that of a leaderboard.*thesis"):
        leaderboard.write(rows, tmp_path / "mine")
    with pytest.raises(ValueError, match="is a file"):
        leaderboard.write(rows, tmp_path / "mine" / "thesis.tex")
    first = write(rows, tmp_path / "site")
    assert first == write(leaderboard.read([tmp_path / "site"]), tmp_path / "site")
    (tmp_path / "site" / "note.txt").write_text("text")
    write(rows, tmp_path / "site")
    assert (tmp_path / "site" / "note.txt").exists()


def test_what_is_published_is_a_page_with_cards(tmp_path):
    rows = leaderboard.read([], ours=True)
    paths = leaderboard.write(rows, tmp_path / "site")
    page = paths[0].read_text(encoding="utf-8")
    names = re.findall('data-name="([^"]*)"', page)
    assert {"cifar10", "cifar100", "fashion_mnist"} <= {*names}
    cards = re.findall('href="(cards/[^"]*)"', page)
    assert len(cards) > 20
    for card in cards:
        text = (tmp_path / "site" / card).read_text(encoding="utf-8")
        assert "## Results" in text
    assert "cards/resnet20.cifar10.html" in cards
    assert "resnet20.akamaster_cifar10 is 100" in page
    assert len(page.encode()) < 5e5
    again = leaderboard.build(leaderboard.read([tmp_path / "site"]))
    assert site.html(again) == site.html(leaderboard.build(rows))


def test_tables_of_a_report_are_as_they_were(tmp_path):
    row = {**ranked.row(), "seconds": 1.0}
    report.html([row], None, tmp_path / "r.html", command="x")
    page = (tmp_path / "r.html").read_text()
    assert '<td data-value="0.25" class="start">0.2500</td>' in page
