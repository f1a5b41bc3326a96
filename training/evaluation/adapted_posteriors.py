"""What posteriors have learned in an evaluation, kept beside its predictions.

The file of a model says of what that was learned: the networks and their weights, the
settings, the images and labels of each split, how many images a step takes, and the
seed. An evaluation that was killed and begins again takes what is of the same, and
learns anew what is not.
"""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np
from absl import logging
from keras import ops

from layers import keras_internals
from training.data import fingerprint
from training.differences import differences
from training.evaluation import adaptation, predictions
from zoo.posterior import Posterior
from zoo.presets import weight_file
from zoo.storage import remote

FILE = "adapted.safetensors"
_EDITION = 1  # Counts the changes of what posteriors learn of the same images.
# What a posterior is made of, whose weights count, and what it is called.
_NO_SETTINGS = "name", "model", "posterior", "members"


class Adapted:
    """Adapts posteriors to images, or gives them what they have learned of these.

    Args:
        folder: Folder of the predictions.
        given: By split, a data set or None.
        batch_size: Images per step.
        seed: Seed of the samples.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        given: Mapping[str, object],
        batch_size: int = 100,
        seed: int = 0,
    ):
        self._folder, self._given = folder, given
        self._batch_size, self._seed = batch_size, seed

    def adapt(self, name: str, posterior: Posterior):
        """Adapts a posterior that has not adapted yet.

        Args:
            name: That of the posterior in the evaluation.
            posterior: The posterior.

        Raises:
            ValueError: As `adapt` of the posterior does.
        """
        path = predictions.folder_of(self._folder, name, FILE)
        source = self._source(posterior)
        if _taken(posterior, path, source):
            logging.info("%s has learned before: %s", name, remote.shown(path))
            return
        before = _digests(posterior)
        settings = self._batch_size, self._seed
        adaptation.fit(posterior, self._given, *settings, name=name)
        after = _digests(posterior)
        arrays = {
            key: ops.convert_to_numpy(value)
            for key, value in posterior.values().items()
            if after[key] != before[key]  # Snapshots are there anyway.
        }
        whose = f"the posterior '{name}'"
        weight_file.save_arrays(arrays, path, {"of": source}, whose)

    def _source(self, posterior):
        """Returns what everything that is learned depends on."""
        inside = keras_internals.flat_layers(posterior)
        return {
            "edition": _EDITION,
            "networks": fingerprint.of_posterior(posterior),
            "posteriors": [_settings(x) for x in inside if isinstance(x, Posterior)],
            "images": {split: self._images[split] for split in posterior.adapts_to},
            "batch_size": self._batch_size,
            "seed": self._seed,
        }

    @functools.cached_property
    def _images(self):
        return {
            split: {"data": fingerprint.of_named(data), "count": len(data.labels)}
            for split, data in self._given.items()
            if data is not None
        }


def _settings(posterior):
    config = posterior.get_config()
    own = {key: v for key, v in config.items() if key not in _NO_SETTINGS}
    text = json.dumps(own, default=str)
    return {"kind": type(posterior).__name__, **json.loads(text)}


def _digests(posterior):
    arrays = {k: ops.convert_to_numpy(v) for k, v in posterior.values().items()}
    return {
        name: hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
        for name, array in arrays.items()
    }


def _taken(posterior, path: pathlib.Path, source) -> bool:
    """Gives a posterior what is in a file, if it is of this source."""
    remote.fetch(path)
    try:
        learned_of = weight_file.read_metadata(path).get("of", {})
        arrays = weight_file.read_arrays(path)
    except (OSError, ValueError) as error:
        if path.exists():
            logging.warning("%s is made anew: %s", remote.shown(path), error)
        return False
    if odd := differences(learned_of, source):
        logging.info("%s is made anew: %s", remote.shown(path), odd)
        return False
    posterior.assign({**posterior.values(), **arrays})
    return posterior.is_adapted
