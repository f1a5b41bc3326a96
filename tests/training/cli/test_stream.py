"""The command `zoo-stream`, in processes of its own."""

import json
import os
import signal
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

import layers
from tests.helpers import processes
from tests.helpers.commands import ROOT, environment
from training import video
from zoo.posterior import Temporal

OPTIONS = {"env": {**environment(), "PYTHONPATH": os.fspath(ROOT)}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network in a file, and frames of two scenes."""
    place = tmp_path_factory.mktemp("streams")
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 255)(x))
    x = keras.layers.Flatten()(layers.MCDropout(0.5)(x))
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(place / "model.keras")
    (place / "frames").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), "uint8")
    for number, image in enumerate(images):
        name = f"{'ab'[number // 4]}{number}.png"
        Image.fromarray(image).save(place / "frames" / name)
    return place


def command(*arguments):
    return [sys.executable, "-m", "training.cli.stream", *map(str, arguments)]


def execute(place, *arguments):
    return processes.run(command(*arguments), cwd=place, **OPTIONS)


def test_the_command_predicts_a_folder_of_frames(place):
    model = keras.models.load_model(place / "model.keras")
    result = execute(
        place,
        *("--model=model.keras@temporal:past=2", "--input=frames", "--seed=4"),
        *("--output=out.mp4", "--rows=out.jsonl"),
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("6 frames, ")
    assert "1 resets\nWrote out.mp4\nWrote out.jsonl\n" in result.stdout
    rows = [json.loads(x) for x in (place / "out.jsonl").read_text().splitlines()]
    posterior, source = Temporal(model, past=2), video.open_source(place / "frames")
    state = posterior.initial_state(4)
    for row, frame in zip(rows, source.frames(), strict=True):
        state = posterior.reset(state) if frame.begins else state
        probs, state = posterior.step(frame.pixels, state)
        assert row["name"] == frame.name
        assert row["confidence"] == pytest.approx(float(np.max(probs)), abs=1e-5)
        assert row["reset"] == (frame.name in ("a0.png", "b4.png"))
    assert len(list(video.open_source(place / "out.mp4").frames())) == 6


@pytest.mark.slow
def test_a_stream_is_exported_and_runs_as_the_network_does(place):
    rows = {}
    for path, kind in (("stream.tflite", "tflite"), ("saved", "saved_model")):
        words = ["training.cli.export", "--model=model.keras@temporal:rate=0.4"]
        words += [f"--format={kind}", f"--output={path}"]
        made = processes.run([sys.executable, "-m", *words], cwd=place, **OPTIONS)
        assert made.returncode == 0, made.stderr
        assert "num_samples=1" in made.stdout
    for name in ("model.keras@temporal:rate=0.4", "stream.tflite", "saved"):
        out = f"rows_{len(rows)}.jsonl"
        result = execute(place, f"--model={name}", "--input=frames", f"--rows={out}")
        assert result.returncode == 0, result.stderr
        lines = (place / out).read_text().splitlines()
        rows[name] = [json.loads(line)["entropy"] for line in lines]
    first, *others = rows.values()
    for other in others:
        np.testing.assert_allclose(other, first, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_video_that_plays(place, tmp_path, number):
    frames = tmp_path / "many"
    frames.mkdir()
    for index in range(3000):
        os.link(place / "frames" / "a0.png", frames / f"{index}.png")
    rows = tmp_path / "rows.csv"
    words = [f"--model={place}/model.keras", "--input=many", "--rows=rows.csv"]
    running = processes.start(
        command(*words, "--output=out.mp4"), cwd=tmp_path, **OPTIONS
    )
    while not rows.exists() or rows.read_text().count("\n") < 20:
        assert running.poll() is None
        time.sleep(0.1)
    running.send_signal(number)
    output, errors = running.communicate()
    assert running.returncode == 130, (output, errors)
    assert "Error: interrupted" in errors
    count = len(list(video.open_source(tmp_path / "out.mp4").frames()))
    assert abs(count - (rows.read_text().count("\n") - 1)) <= 1
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--input=nowhere"], "no video and no folder of frames 'nowhere'"),
        pytest.param(
            *(["--input=frames", "--output=a.gif"], "A video ends in .mp4"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--input=frames", "--model=model.keras@temperature:temperature=2"],
            "takes one pass of each frame",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_it(place, arguments, message):
    result = execute(place, "--model=model.keras", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
