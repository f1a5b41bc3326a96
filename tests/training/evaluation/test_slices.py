import json
import pathlib

import numpy as np
import pytest

from tests.helpers import pools
from tests.helpers.data_sets import Data, Slices
from tests.helpers.networks import IMAGES, mc_network, network
from training.evaluation import slices, sweep
from training.parallel import pool
from training.parallel.workers import Workers
from training.progress import Progress
from zoo.posterior import Temperature, Temporal

SIZES = (1, 3)


def data(count, name, images=None):
    rng = np.random.default_rng(count)
    pixels = rng.integers(0, 256, (count, 8, 8, 1)).astype("uint8")
    return Data(
        pixels if images is None else images(pixels), np.arange(count) % 3, name=name
    )


@pytest.fixture(scope="module")
def models():
    model = network(name="one")
    return {"one": model, "one@temperature": Temperature(model), "draws": mc_network()}


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    monkeypatch.setattr(slices, "_PASSES", 18)  # Two batches of three images.


def evaluate(models, folder, workers, *sets, **settings):
    with workers:
        return sweep.evaluate_all(
            models,
            sets,
            folder,
            SIZES,
            batch_size=3,
            calibration=Data(IMAGES, np.array([1, 0, 0, 1, 0, 2, 2]), name="held_out"),
            workers=workers,
            **settings,
        )


def contents(folder):
    """Returns the bytes of all files but for the time that it took."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.name == "meta.json":
            meta = json.loads(path.read_text())
            found[path.relative_to(folder)] = {**meta, "seconds": None}
        elif path.suffix == ".npy":
            found[path.relative_to(folder)] = path.read_bytes()
    return found


def test_predictions_do_not_depend_on_the_number_of_workers(models, tmp_path):
    def sets(count):
        killer = tmp_path / f"died{count}"
        if count == 2:  # None is killed.
            killer.touch()
        yield data(19, "odd")
        yield data(23, "killed_once", lambda x: pools.Deadly(x, 13, killer))

    def values(rows):
        return [(row["model"], row["metric"], str(row["value"])) for row in rows]

    ood = [data(7, "other")]
    expected = evaluate(models, tmp_path / "1", Workers(None), *sets(1), ood=ood)
    assert not (tmp_path / "died1").exists()
    for count in (2, 3):
        workers = Workers(lambda count=count: pools.forks(count))
        folder = tmp_path / str(count)
        rows = evaluate(models, folder, workers, *sets(count), ood=ood)
        assert (tmp_path / f"died{count}").exists()
        assert values(rows) == values(expected)
        assert contents(folder) == contents(tmp_path / "1")
    # Two networks and a temperature on three sets, and one on that to fit it to.
    assert sum(path.name == "probs.npy" for path in contents(tmp_path / "1")) == 10
    # Nobody is started where nothing is left to do.
    none = Workers(lambda: pytest.fail("They are not needed."))
    again = evaluate(models, tmp_path / "3", none, *sets(3), ood=ood)
    assert values(again) == values(expected)


def test_workers_get_the_frames_around_those_that_they_predict(tmp_path):
    models = {"smoothed": Temporal(network(), past=4, future=2)}
    found = []
    for name, engine in (("1", None), ("2", lambda: pools.forks(1))):
        with Workers(engine) as workers:  # Of 18 frames at once.
            rows = sweep.evaluate_all(
                models,
                [data(40, "clip")],
                tmp_path / name,
                (1,),
                batch_size=3,
                workers=workers,
            )
        found.append([(row["metric"], str(row["value"])) for row in rows])
    assert found[0] == found[1]


def test_an_image_that_ends_workers_is_named(models, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "ATTEMPTS", 1)
    poisoned = data(17, "poisoned", lambda x: pools.Deadly(x, 13))
    only = {"draws": models["draws"]}
    message = (
        r"^Image number 13 of 'poisoned' through 'draws' ends the process that passes "
        r"it: Process \d+ was killed by signal 9\.$"
    )
    with pytest.raises(pool.WorkerDiedError, match=message):
        evaluate(only, tmp_path, Workers(lambda: pools.forks(1)), poisoned)
    # What came before it is kept.
    meta = json.loads((tmp_path / "draws" / "poisoned" / "meta.json").read_text())
    assert meta["done"] == 12


def test_an_image_that_cannot_be_read_is_named(models, tmp_path):
    pixels = np.full((7, 8, 8, 1), 9, "float32")
    pixels[4, 2, 2] = np.nan
    bad = Data(Slices(pixels), np.arange(7) % 3)
    with pytest.raises(ValueError, match="^Image number 4: `images` must be pixels"):
        evaluate({"one": models["one"]}, tmp_path, Workers(None), bad)


def test_workers_come_when_the_work_is_long(models, tmp_path, monkeypatch):
    """The work begins in one process and goes on in another, from any batch."""
    begun = data(19, "odd"), data(8, "next")
    evaluate(models, tmp_path / "1", Workers(None), *begun)

    class Late(Workers):
        def _is_due(self, progress):
            return progress.done > 3 * 19

    evaluate(models, tmp_path / "2", Late(lambda: pools.forks(1)), *begun)
    assert contents(tmp_path / "2") == contents(tmp_path / "1")


@pytest.mark.parametrize(
    ("seconds", "done", "starts"), [(11, 10, True), (11, 500, False), (9, 1, False)]
)
def test_it_pays_if_much_is_left(monkeypatch, seconds, done, starts):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    progress = Progress("evaluate", 1000, lambda _: None)
    workers = Workers(lambda: pools.forks(1), seconds=90)
    assert workers.pool(progress) is None
    now += seconds
    progress(done)
    with workers:
        assert bool(workers.pool(progress)) is starts
