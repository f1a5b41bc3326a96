"""Export for servers (SavedModel) and devices (LiteRT), checked before it returns.

Both formats map raw pixels in [0, 255] to probabilities. What is random in them is a
function of a seed, the one of `zoo.posterior.MonteCarlo`: the same seed gives the same
samples in Keras, on the server and on the device.
"""

import contextlib
import os
import pathlib
import re
import tempfile
import time

import keras
import tensorflow as tf

import layers
from training import parity, saved_model
from training.saved_model import save as _save
from training.saved_model import scalars as _scalars
from training.saved_model import spec as _spec
from zoo import predictive
from zoo.posterior import MonteCarlo


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    num_samples: int = 10,
    overwrite: bool = False,
    images=None,
) -> dict:
    """Exports a model for TensorFlow Serving and checks its parity with Keras.

    The signatures `serving_default` (float32) and `serve_uint8` take `images` and give
    `probabilities`, the mean over the passes, `label`, `confidence`, `entropy` and
    `mutual_information`, in nats. `serve_encoded` takes `image_bytes`, JPEG or PNG
    files of any size. Each call draws new noise, whatever the server or the thread. A
    stochastic model has a further signature `sample` of `images`, `num_samples` and
    `seed`, int32 scalars. It also gives the `samples`, probabilities of shape
    `(num_samples, batch, num_classes)`, and the same ones for the same seed.

    Args:
        model: From images to logits.
        path: The folder to write.
        num_samples: Forward passes at each call; a deterministic model has one.
        overwrite: Whether to replace what lies at `path`.
        images: At least two images for the check, of shape `(count, height, width,
            channels)`; random ones by default.

    Returns:
        `path`, `bytes`, `num_samples`, `max_difference`, `tolerance`, `batch_sizes`
        and `seconds`.

    Raises:
        ValueError: If the model cannot be exported, or the export differs from it.
        FileExistsError: If something lies at `path`.
    """
    posterior = _posterior(model, num_samples)

    def write(target):
        saved_model.save(saved_model.functions(posterior), target)
        return parity.saved_model_runner(target, posterior.num_samples)

    return _export(posterior, path, write, parity.TOLERANCES[None], overwrite, images)


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    num_samples: int = 10,
    quantization: str | None = None,
    overwrite: bool = False,
    images=None,
) -> dict:
    """Exports a model for LiteRT, of built-in operators alone, and checks its parity.

    The signature takes `images`, float32 of any batch size, and gives `probabilities`.
    For a stochastic model it also takes a `seed`, an int32 scalar; the probabilities
    are then the mean over `num_samples` passes, and another seed draws other noise.

    Args:
        model: From images to logits.
        path: The file to write.
        num_samples: Forward passes at each call; a deterministic model has one.
        quantization: `"float16"` keeps the weights in half precision, `"dynamic"` in 8
            bits, and then quantizes activations as they come.
        overwrite: Whether to replace what lies at `path`.
        images: As in `export_saved_model`.

    Returns:
        As `export_saved_model`.

    Raises:
        ValueError: If the model cannot be exported, or the export differs from it.
        FileExistsError: If something lies at `path`.
    """
    if quantization not in parity.TOLERANCES:
        raise ValueError(
            f"`quantization` must be one of {', '.join(map(str, parity.TOLERANCES))}. "
            f"Received: quantization={quantization}"
        )
    posterior = _posterior(model, num_samples)

    def write(target):
        folder = target.parent / "saved_model"
        _save({"serving_default": _device_function(posterior)}, folder)
        target.write_bytes(_convert(folder, quantization))
        return parity.tflite_runner(target)

    tolerance = parity.TOLERANCES[quantization]
    return _export(posterior, path, write, tolerance, overwrite, images)


def _posterior(model, num_samples):
    """Returns the posterior to export, if there is a way."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Models are exported with KERAS_BACKEND=tensorflow; weight files are the "
            f"same for all backends. Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    posterior = MonteCarlo(model, num_samples)  # Checks both.
    if not isinstance(model.input_shape, tuple) or len(model.input_shape) != 4:
        raise ValueError(
            "`model` must take images of shape (batch, height, width, channels). "
            f"Received: model={model.name} with input_shape={model.input_shape}"
        )
    return posterior if layers.is_stochastic(model) else MonteCarlo(model, 1)


def _device_function(posterior):
    def classify(images, seed=0):
        return {"probabilities": predictive.probs(posterior(images, seed=seed))}

    seeds = _scalars("seed") if layers.is_stochastic(posterior.model) else []
    return tf.function(classify, [_spec(posterior), *seeds])


def _convert(folder, quantization) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if quantization else []
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        return converter.convert()
    except Exception as error:  # The converter has no public type of its own.
        missing = sorted(set(re.findall(r"'(tf\.\w+)' op is neither", str(error))))
        reason = f"it has no operator for {', '.join(missing)}" if missing else error
        raise ValueError(f"LiteRT cannot run the model: {reason}") from error


def _export(posterior, path, write, tolerance, overwrite, images):
    start, path = time.perf_counter(), pathlib.Path(path)
    images = parity.check_images(images, posterior.image_shape)
    with _replacing(path, overwrite) as target:
        report = parity.check(posterior, write(target), images, tolerance)
    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
    return {
        "path": str(path),
        "bytes": sum(file.stat().st_size for file in files),
        "num_samples": posterior.num_samples,
        **report,
        "seconds": round(time.perf_counter() - start, 1),
    }


@contextlib.contextmanager
def _replacing(path, overwrite):
    """Gives a temporary path, which becomes `path` if no error occurs."""
    if path.is_dir() and not (path / "saved_model.pb").exists():
        raise FileExistsError(f"{path} is a folder that holds no SavedModel.")
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; `overwrite` replaces it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        target = pathlib.Path(folder, "new")
        yield target
        if os.path.lexists(path):
            os.replace(path, pathlib.Path(folder, "old"))
        os.replace(target, path)
