"""Where weights come from: a file, a folder, a model, or a name on a hub."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import safetensors
import safetensors.numpy

from zoo.convert import keras_hub_format, padded_shortcuts
from zoo.convert.name_tables import ours
from zoo.convert.torch_format import read_pth
from zoo.registry import parse
from zoo.storage import download, files

WEIGHTS_FILES = "model.safetensors", "pytorch_model.bin"  # In a folder, as on the hub.
CONFIG_FILE = "config.json"  # Of timm, beside the weights.
PREFIX = "timm:"
REPOSITORY = "timm/{}"  # On the hub, by a name of timm.
URL = "https://huggingface.co/{}/resolve/main/{}"
# Before the names of a network that was trained on several devices, compiled, or as a
# part of a training module, in any kind of file.
WRAPPERS = r"^(?:module\.|_orig_mod\.|model\.)+"
# ImageNet's, in units of [0, 1], as nearly all weights of torchvision and timm want it.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# By the first word of timm's tag: what timm trained itself, and what torchvision did.
# Of other weights it has to be said.
LICENSES = {
    "apache-2.0": "a1 a1h a2 a3 ah am b1k b2k bt c1 c2 d ra ra2 ra4 racm ram sw",
    "bsd-3-clause": "tv tv2",
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights of another library.

    Attributes:
        name: What it was read from: a name of the hub, or that of a file.
        sha256: SHA-256 of the weights file, or of each of several; None if there was
            none.
        state: Arrays by their names there.
        config: What timm says about them, its `pretrained_cfg`; may be empty.
    """

    name: str
    sha256: str | None
    state: Mapping[str, np.ndarray]
    config: Mapping[str, object] = dataclasses.field(default_factory=dict)

    @property
    def tag(self) -> str:
        """How the weights are called, for the name of the model."""
        _, _, tag = self.name.removeprefix(PREFIX).partition(".")
        named = tag if self.name.startswith(PREFIX) else ""
        return self.config.get("tag") or named or "converted"

    @property
    def network(self) -> str | None:
        """Our name of the network that was trained, if it is known."""
        name, _, _ = self.name.removeprefix(PREFIX).partition(".")
        named = name if self.name.startswith(PREFIX) else ""
        name = ours(self.config.get("architecture") or named)
        try:
            return parse(name).stem
        except ValueError:
            return None

    @property
    def license(self) -> str | None:
        """Of the weights, if it is known."""
        word = self.tag.partition("_")[0]
        known = (name for name, words in LICENSES.items() if word in words.split())
        return self.config.get("license") or next(known, None)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images; 224 if it is not known."""
        return tuple(self.config.get("input_size", (3, 224, 224))[1:])

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and variance of pixels in `[0, 255]`; by default ImageNet's."""
        mean, std = (
            np.asarray(self.config.get(key) or default, "float64") * 255
            for key, default in (("mean", MEAN), ("std", STD))
        )
        return tuple(mean.tolist()), tuple((std**2).tolist())


def read(
    source: str | os.PathLike | keras.Model,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Source:
    """Reads weights of torchvision, timm or keras_hub.

    Args:
        source: A `.safetensors` file, or one of PyTorch's (`.pth`, `.pt`, `.th`,
            `.bin`); a folder with `model.safetensors` or
            `pytorch_model.bin`, as on the hub; or `timm:` and a name of timm's, such as
            `timm:resnet50.a1_in1k`, for which there must be a network. A `config.json`
            of timm's beside the weights is read too. Of keras_hub, a classifier; a
            folder of its `save_to_preset`; a `.weights.h5` file; or `keras_hub:` and
            the name of a preset, such as `keras_hub:resnet_50_imagenet`.
        mean: Mean of the pixels in `[0, 1]` per channel, in their training; by default
            what that file says, or else ImageNet's.
        std: Their standard deviation.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If a package is missing that reads it.
        ConnectionError: If it cannot be downloaded.
        ValueError: If the file is damaged or holds anything but arrays.
    """
    pixels = {"mean": mean, "std": std} if mean and std else {}
    if isinstance(source, keras.Model) or str(source).startswith(
        keras_hub_format.PREFIX
    ):
        return _read_keras(source, pixels)
    if not str(source).startswith(PREFIX) and keras_hub_format.is_preset(
        pathlib.Path(source)
    ):
        state, config, sums = keras_hub_format.read_folder(pathlib.Path(source))
        return Source(pathlib.Path(source).name, sums, state, {**config, **pixels})
    if str(source).startswith(PREFIX):
        repository = str(source).removeprefix(PREFIX)
        path, config = (
            _download(repository, file) for file in (WEIGHTS_FILES[0], CONFIG_FILE)
        )
        name = str(source)
    else:
        path = _find(pathlib.Path(source))
        config, name = path.with_name(CONFIG_FILE), path.name
    read_file = _read_safetensors if path.suffix == ".safetensors" else read_pth
    state = _unwrapped(read_file(path), path)
    config = {**padded_shortcuts.config(state), **_read_config(config), **pixels}
    return Source(name, files.sha256(path), state, config)


def _read_keras(source, pixels) -> Source:
    if isinstance(source, keras.Model):
        state, config = keras_hub_format.read_model(source)
        return Source(source.name, None, state, {**config, **pixels})
    name = source.removeprefix(keras_hub_format.PREFIX)
    state, config = keras_hub_format.read_model(keras_hub_format.load_preset(name))
    network, _, data = name.rpartition("_")
    named = {"architecture": network, "tag": data}
    if re.fullmatch(r"resnet_\d+_imagenet", name):
        named["license"] = "apache-2.0"  # They are timm's `a1`.
    return Source(source, None, state, {**config, **named, **pixels})


def _find(path) -> pathlib.Path:
    candidates = [path / name for name in WEIGHTS_FILES] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    expected = " or ".join(f"'{candidate}'" for candidate in candidates)
    raise FileNotFoundError(
        f"There are no weights at '{path}': expected {expected}, or a name such as "
        f"'{PREFIX}resnet50.a1_in1k'."
    )


def _unwrapped(state, path) -> dict[str, np.ndarray]:
    """Returns a state by the names of the network itself, without its wrappers'."""
    names = {key: re.sub(WRAPPERS, "", key) for key in state}
    if len(set(names.values())) < len(names):
        twice = next(k for k, name in names.items() if name != k and name in state)
        raise ValueError(
            f"'{path}' holds the weights of several networks. Received: '{twice}' and "
            f"'{names[twice]}'"
        )
    return {name: state[key] for key, name in names.items()}


def _read_safetensors(path) -> dict[str, np.ndarray]:
    try:
        state = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"'{path}' is not a safetensors file of arrays, or is damaged: {error}"
        ) from error
    return {key: _to_float32(array) for key, array in state.items()}


def _to_float32(array):
    floating = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype("float32") if floating else array


def _read_config(path) -> dict[str, object]:
    """Returns what timm wrote; a file of that name may be of another program."""
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"'{path}' is not JSON: {error}") from error
    config = config if isinstance(config, dict) else {}
    outer = {k: config[k] for k in ("architecture", "label_names") if k in config}
    return {**(config.get("pretrained_cfg") or {}), **outer}


def _download(name, file) -> pathlib.Path:
    repository = REPOSITORY.format(name)
    url = URL.format(repository, file)
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            f"'{PREFIX}{name}' is on the Hugging Face hub: pip install huggingface_hub."
            f" {_by_hand(name)}"
        ) from error
    offline = download.is_offline()
    try:
        path = huggingface_hub.hf_hub_download(
            repository, file, local_files_only=offline
        )
    except (OSError, ValueError) as error:
        reason = (
            "ZOO_OFFLINE is set"
            if offline
            else str(error).partition("\n")[0].rstrip(".")
        )
        raise ConnectionError(
            f"Cannot download {url} ({reason}). {_by_hand(name)}"
        ) from error
    return pathlib.Path(path)


def _by_hand(name) -> str:
    urls = [
        URL.format(REPOSITORY.format(name), file)
        for file in (WEIGHTS_FILES[0], CONFIG_FILE)
    ]
    return (
        f"Without a network: get {urls[0]} and {urls[1]} on another machine, put them "
        "into one folder and give that folder as the source."
    )
