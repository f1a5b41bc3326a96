"""Posteriors learn from images while a progress says how many of them."""

import contextlib
import types

import numpy as np

from training import data
from training.evaluation import adaptation
from training.progress import Progress


def test_a_progress_counts_the_images_of_each_time(monkeypatch):
    seen = []

    @contextlib.contextmanager
    def track(description, total):
        yield Progress(description, total, lambda p: seen.append((p.done, p.total)))

    def adapt(dataset, batch_size, seed, validation):
        for part in (dataset, dataset, validation):
            for start in range(0, len(part.images), batch_size):
                stop = min(start + batch_size, len(part.images))
                np.testing.assert_array_equal(
                    part.images[start:stop], images[start:stop]
                )

    monkeypatch.setattr(adaptation, "track", track)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), "uint8")
    dataset = data.ImageData("five", images, np.arange(5) % 2, ("a", "b"))
    splits = ("train", "validation")
    posterior = types.SimpleNamespace(name="it", adapts_to=splits, adapt=adapt)
    adaptation.fit(posterior, {"train": dataset, "validation": dataset.take(3)}, 2)
    first, again = [(2, 5), (4, 5), (5, 5)], [(7, 10), (9, 10), (10, 10)]
    assert seen == [*first, *again, (12, 13), (13, 13)]
