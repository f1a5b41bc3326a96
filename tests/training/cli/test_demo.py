"""The tour measures a few metrics, and explains each of them."""

import io
import shlex

import numpy as np
import pytest
from rich import console

from tests.helpers import networks
from training import metrics
from training.cli import demo_tour
from training.data import ImageData
from training.metrics import display


def test_each_metric_of_the_tour_is_measured_and_explained(tmp_path, monkeypatch):
    labels = np.arange(len(networks.IMAGES)) % 3
    test = ImageData("toys", networks.IMAGES, labels.astype("int32"), ("a", "b", "c"))
    monkeypatch.setattr(demo_tour.zoo, "load", lambda name: networks.network())
    monkeypatch.setattr(demo_tour, "MODELS", ("resnet20",))
    monkeypatch.setattr(demo_tour, "SIZES", (1, 2))
    rows = demo_tour.compare(test, tmp_path)
    assert {row["metric"] for row in rows} == {*demo_tour.METRICS}
    assert {*demo_tour.METRICS} <= {*metrics.CLASSIFICATION}
    assert (tmp_path / "ensemble_size.png").stat().st_size > 1000
    lines = demo_tour.explanations()
    assert len(lines) == 6
    for name, line in zip(demo_tour.METRICS, lines, strict=True):
        assert line.startswith(display.heading(name))
        assert len(line) < 80  # Of a terminal.
    assert lines[0].endswith("right predictions (higher is better)")


@pytest.mark.parametrize("width", [40, 80])
def test_the_commands_to_try_can_be_copied_from_any_terminal(width):
    screen = console.Console(file=io.StringIO(), width=width)
    demo_tour.print_next(screen)
    assert screen.file.getvalue() == f"{demo_tour.NEXT}\n"
    lines = demo_tour.NEXT.splitlines()
    assert max(map(len, lines)) < 80
    commands = "\n".join(line for line in lines if line.startswith("  "))
    words = shlex.split(commands.replace("\\\n", ""))
    assert len(words) == 10
    assert all(word.startswith(("zoo-", "--")) for word in words)
