"""Export for browsers: a folder with a model, its page and the code that runs it.

LiteRT.js runs the model. It comes from npm, pinned, into the folder itself, so that the
page asks no other place for anything.
"""

import json
import os
import pathlib

import keras
import numpy as np

from layers import random
from layers.keras_internals import flat_layers
from layers.members import MemberLayer
from training.export import checked, flatbuffer, litert
from training.runtimes import litert as runtime
from zoo.posterior import MonteCarlo, Posterior

# The package of npm that runs the model, and its version.
PACKAGE, VERSION = "@litertjs/core", "2.5.3"
MODEL, ABOUT = "model.tflite", "model.json"
FILES = (
    *("index.html", "style.css", "page.js", "corruptions.js"),
    *("classifier.js", "image.js"),
)
# What LiteRT.js opens; it has been tried with each of them.
QUANTIZATIONS = (None, "float16", "dynamic", "int8")
# How far probabilities in a browser may be from those of the same file in Python.
# Integers are rounded in other places there.
TOLERANCES = {None: 1e-3, "float16": 1e-3, "dynamic": 0.1, "int8": 0.1}
_LEVELS = (64, 160, 256)  # Of the brightness of the images of the check.
_ASSETS = pathlib.Path(__file__).parent.parent / "assets" / "web"


def export_web(
    model: keras.Model | Posterior,
    path: str | os.PathLike,
    num_samples: int = 10,
    quantization: str | None = None,
    overwrite: bool = False,
    images=None,
    calibration=None,
    name: str = "",
    samples=(),
) -> dict:
    """Exports a model for browsers, as a folder that any server of files shows.

    `model.tflite` takes one image, and `classifier.js` calls it, in browsers and in
    Node: it gives probabilities, entropy and its two parts. A network that draws is
    called once for each pass, so that their number is up to the caller, and draws what
    `zoo.posterior.MonteCarlo` does with the same seed, bit for bit; a posterior of
    another kind, or a network with several members, has all of its passes in one call.
    `image.js` decodes and resizes pictures to the pixels that Python sees. `index.html`
    shows what becomes of a picture when it is corrupted.

    `package.json` names the runtime of npm, so `npm install` in the folder completes
    it. A newer one lies there already if `node_modules` was in a folder that is
    replaced. Where the runtime computes the file otherwise than Python, the code finds
    out when it loads, and refuses with the difference.

    Args:
        model: From images to logits, or a posterior.
        path: The folder to write.
        num_samples: Forward passes by default; a deterministic network has one.
        quantization: `"float16"`, `"dynamic"` or `"int8"`, as `export_tflite` has them.
        overwrite: Whether to replace such a folder.
        images: At least two images for the check with Keras, of shape `(count, height,
            width, channels)`; by default some of `calibration`, or else random ones.
        calibration: Images for `"int8"`, as in `export_tflite`.
        name: What the page calls the model.
        samples: Pictures for the page, pairs of a name and a uint8 array of shape
            `(height, width, channels)`.

    Returns:
        As `export_saved_model`.

    Raises:
        ImportError: If a quantizer is needed, and not installed.
        ValueError: If the model cannot be exported, browsers could not run it, or the
            export differs from it.
        FileExistsError: If something lies at `path`.
    """
    if quantization not in QUANTIZATIONS:
        kinds = ", ".join(filter(None, QUANTIZATIONS))
        raise ValueError(
            f"For browsers `quantization` is {kinds} or none: LiteRT.js has no kernels "
            f"for the others. Received: quantization={quantization}"
        )
    posterior = checked.posterior_of(model, num_samples)
    _check_images(posterior)
    part = one_pass(posterior)
    is_repeated = part is not posterior
    path = pathlib.Path(path)
    with checked.replacing(path, overwrite) as target:
        target.mkdir()
        report = litert.export_tflite(
            part,
            target / MODEL,
            quantization=quantization,
            images=images,
            calibration=calibration,
            batch=1,
            spread=not quantization,
        )
        about = {
            "name": name,
            "image_shape": list(posterior.image_shape),
            "classes": list(posterior.classes),
            "num_classes": posterior.num_classes,
            "num_samples": posterior.num_samples,
            "is_repeated": is_repeated,
            "quantization": quantization,
            "refused": _refused(target / MODEL),
            "check": _check(target / MODEL, posterior.image_shape, quantization),
            "samples": _write_samples(target, samples),
        }
        (target / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
        for file in FILES:
            (target / file).write_bytes((_ASSETS / file).read_bytes())
        package = {"private": True, "dependencies": {PACKAGE: VERSION}}
        (target / "package.json").write_text(json.dumps(package, indent=2) + "\n")
        if (path / "node_modules").is_dir():
            os.replace(path / "node_modules", target / "node_modules")
    return {**report, "path": str(path), "num_samples": posterior.num_samples}


def one_pass(posterior: Posterior) -> Posterior:
    """Returns a posterior of a single pass, or the same one where that is not a part.

    Passes of one seed are calls of it by seeds of their own, except where a pass has a
    number that layers know, as those with several members do.

    Args:
        posterior: What is exported.
    """
    layers = flat_layers(posterior)
    has_members = any(
        isinstance(layer, MemberLayer) and layer.num_members > 1 for layer in layers
    )
    if type(posterior) is not MonteCarlo or not posterior.draws or has_members:
        return posterior
    return MonteCarlo(
        posterior.model,
        1,
        estimator=posterior.estimator,
        memory=posterior.memory,
        name=posterior.name,
    )


def check_images(image_shape) -> list[np.ndarray]:
    """Returns images of noise that a browser makes by the same formula.

    Args:
        image_shape: Height, width and channels.

    Returns:
        float32 arrays of that shape, of whole numbers in [0, 255], the first dark.
    """
    size = int(np.prod(image_shape))
    found = []
    for key, level in enumerate(_LEVELS):
        drawn = keras.ops.convert_to_numpy(random.bits(key, size)) >> 24
        found.append((drawn * level // 256).astype("float32").reshape(image_shape))
    return found


def _check_images(posterior):
    shape = posterior.image_shape
    if posterior.map_shape:
        raise ValueError(
            "The page shows probabilities of an image, not of its pixels. Received: "
            f"model={posterior.name} with logits of shape "
            f"{(*posterior.map_shape, posterior.num_classes)}"
        )
    if None in shape or shape[2] not in (1, 3):
        raise ValueError(
            "LiteRT.js runs files for images of one size, and pictures are gray or "
            "RGB: the model must say height and width, and have 1 or 3 channels. "
            f"Received: model={posterior.name} with input_shape={(None, *shape)}"
        )


def _refused(file) -> dict[str, str]:
    """Returns why an accelerator is not for a file, by its name; empty if it is."""
    reason = flatbuffer.webgpu_obstacle(file.read_bytes())
    return {"wasm": "", "webgpu": reason and f"Not on WebGPU: {reason}."}


def _check(file, image_shape, quantization) -> dict:
    """Returns what a file gives in Python for images that a browser can make."""
    network, found = runtime.open_network(file), []
    for key, image in enumerate(check_images(image_shape)):
        seed = key + 1
        probs = network.run(image[None], seed)["probabilities"][0]
        values = {"key": key, "level": _LEVELS[key], "seed": seed}
        found.append({**values, "probabilities": [float(p) for p in probs]})
    return {"tolerance": TOLERANCES[quantization], "images": found}


def _write_samples(folder, samples) -> list[str]:
    from PIL import Image

    names = []
    for number, (name, pixels) in enumerate(samples):
        letters = "".join(x if x.isalnum() else "-" for x in name)
        file = folder / "samples" / f"{number}_{letters}.png"
        file.parent.mkdir(exist_ok=True)
        is_gray = pixels.shape[2] == 1
        Image.fromarray(pixels[..., 0] if is_gray else pixels).save(file)
        names.append(file.relative_to(folder).as_posix())
    return names
