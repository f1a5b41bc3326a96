"""How long a browser takes to open the page of a large leaderboard.

    python -m benchmarks.leaderboard_page --models=200 --rounds=11

Rows of made-up models, as many as `--models`, on a clean data set and 122 changed ones,
with all metrics and two trainings each, become a page; a headless Chromium opens it
anew in each round. Times are from the start of the navigation to the first paint, to
the end of the load event, and to the end of two further frames, when the page shows and
answers; medians, and the largest.
"""

import argparse
import pathlib
import tempfile

import numpy as np

from tests.helpers import browser, ranked

METRICS = "nll", "accuracy", "ece", "aurc", "raulc"
TIMES = """
new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
  const [page] = performance.getEntriesByType('navigation');
  const paint = performance.getEntriesByType('paint').map(entry => entry.startTime);
  done([Math.min(...paint), page.loadEventEnd, performance.now()]);
})))
"""


def main():
    """Prints the size of the page and its times."""
    from training.report import leaderboard

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=11)
    flags = parser.parse_args()
    names = [f"net{i}.d{s}" for i in range(flags.models) for s in ("", "_seed1")]
    rows, _ = ranked.rows(names, ranked.SETS, METRICS)
    with tempfile.TemporaryDirectory() as folder:
        site = pathlib.Path(folder, "site")
        leaderboard.write(rows, site)
        page = site / "index.html"
        print(
            f"{flags.models} models, {len(ranked.SETS)} data sets, {len(METRICS)} "
            f"metrics: {page.stat().st_size / 1e6:.2f} MB"
        )
        with browser.chromium(pathlib.Path(folder, "profile")) as tab:
            times = []
            for _ in range(flags.rounds):
                tab.open(page)
                times.append(tab.run(TIMES))
    columns = zip(*times, strict=True)
    for name, column in zip(("painted", "loaded", "shown"), columns, strict=True):
        print(f"{name}: {np.median(column):.0f} ms, at most {max(column):.0f} ms")


if __name__ == "__main__":
    main()
