"""A folder of models and their versions, for TensorFlow Serving.

It holds `models.config`, `compose.yaml` and `<model>/<version>/saved_model.pb` with its
variables and warm-up requests.
"""

import os
import pathlib
import re
import shutil

import keras

from training.export import checked, parity, saved_model, warmup
from zoo.conformal import Decision
from zoo.posterior import Posterior
from zoo.storage import files

CONFIG = "models.config"
COMPOSE = "compose.yaml"
# Where the compose file puts the folder, inside of the container.
_MOUNT = "/models"
# The last versions that the server keeps loaded, so that a client can go back.
_NUM_VERSIONS = 2


def export_version(
    model: keras.Model | Posterior,
    root: str | os.PathLike,
    num_samples: int = 10,
    name: str | None = None,
    images=None,
    decision: Decision | None = None,
) -> dict:
    """Adds the next version of a model to the folder of a server.

    The version appears at once and complete, so a running server takes it up; older
    versions stay. With it come requests that warm it up, which were answered here. A
    model that is new is entered into `models.config`, whose other entries and settings
    stay; `compose.yaml` is written if it is missing.

    Args:
        model: From images to logits, or a posterior.
        root: The folder of the server.
        num_samples: Forward passes of a model at each call; a deterministic one has
            one.
        name: By which clients call the model; by default the model's, without the tag.
        images: At least two images for the check and the warm-up, of shape `(count,
            height, width, channels)`; random ones by default.
        decision: As of `training.export.export_saved_model`.

    Returns:
        As `training.export.export_saved_model`, with `name` and `version`.

    Raises:
        ValueError: If the model cannot be exported, its name is not one for a server,
            or `models.config` cannot be read.
        ImportError: If the package `tensorflow-serving-api` is missing.
    """
    warmup.require_api()
    posterior = checked.posterior_of(model, num_samples)
    root = pathlib.Path(root)
    name = model.name.partition(".")[0] if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise ValueError(
            "`name` must be of letters, digits, '_', '-' and '.'. Received: "
            f"name={name}"
        )
    with files.locked(root / ".lock"):  # Two exports would take the same number.
        config = _read_config(root / CONFIG)
        path = root / name / str(_last_version(root / name) + 1)
        with files.replacing(path) as folder:
            report = saved_model.export_saved_model(
                posterior, folder, num_samples, images=images, decision=decision
            )
            images = parity.check_images(images, posterior.image_shape)
            warmup.write(folder, name, images, report["num_samples"])
            warmup.replay(folder)
            size = files.size(folder)
        _enter(config, name, root / CONFIG)
        if not (root / COMPOSE).exists():
            with files.replacing(root / COMPOSE) as new:
                shutil.copyfile(_ASSETS / COMPOSE, new)
    place = {"path": str(path), "name": name, "version": int(path.name)}
    return {**report, **place, "bytes": size}


def versions(folder: str | os.PathLike) -> list[int]:
    """Returns the versions in the folder of a model, in order."""
    folder = pathlib.Path(folder)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(n) for n in names if re.fullmatch("[0-9]+", n))


def _last_version(folder):
    return max(versions(folder), default=0)


def _read_config(path):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    if path.exists():
        try:
            text_format.Parse(path.read_text(), config)
        except text_format.ParseError as error:
            raise ValueError(f"Cannot read '{path}': {error}") from error
    return config


def _enter(config, name, path):
    """Adds a model to the configuration and writes it, unless it is there."""
    from google.protobuf import text_format

    models = config.model_config_list.config
    if name in [model.name for model in models]:
        return
    model = models.add(name=name, base_path=f"{_MOUNT}/{name}")
    model.model_platform = "tensorflow"
    model.model_version_policy.latest.num_versions = _NUM_VERSIONS
    with files.replacing(path) as new:
        new.write_text(text_format.MessageToString(config))


_ASSETS = pathlib.Path(__file__).parents[1] / "assets" / "serving"
