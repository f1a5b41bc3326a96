"""The command `zoo-leaderboard`, in a process of its own."""

import json
import os
import sys

from tests.helpers import processes, ranked
from tests.helpers.commands import ROOT, environment
from training import report


def test_words_before_and_behind_flags_are_files(tmp_path):
    first, _ = ranked.rows(("a.d", "b.d"))
    second, _ = ranked.rows(("c.d",), rng=1)
    report.write_rows(first, tmp_path / "1.jsonl")
    (tmp_path / "two").mkdir()
    report.write_rows(second, tmp_path / "two" / "rows.jsonl")
    command = [sys.executable, "-m", "training.cli.leaderboard", "1.jsonl"]
    command += ["--output=site", "--model=a.d,c*", "two"]
    env = {**environment("jax"), "PYTHONPATH": os.fspath(ROOT)}
    result = processes.run(command, cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    *_, line = result.stdout.splitlines()
    assert line == "6 rows of 2 models: site/index.html and site/leaderboard.json"
    data = json.loads((tmp_path / "site" / "leaderboard.json").read_text())
    assert [entry["model"] for entry in data["models"]] == ["a.d", "c.d"]
    page = (tmp_path / "site" / "index.html").read_text()
    assert page.count('<th scope="row"') == 2
