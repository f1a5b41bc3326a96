"""Exports of streams: a frame and a state go in, a prediction and the next come out."""

import os
import pathlib
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import layers
from layers import keras_internals
from training.data.readers import label_files
from training.export import checked, litert, parity, saved_model
from training.runtimes import streams
from zoo import quantization as integers
from zoo.posterior import Temporal
from zoo.storage import files

_NUM_FRAMES = 5  # Of the check.
# A frame of pixels has a million probabilities, whose worst is further off than that of
# ten.
_OF_PIXELS = 10
QUANTIZATIONS = None, "float16", "dynamic"


def export_stream(
    kind: str,
    posterior: Temporal,
    path: str | os.PathLike,
    quantization: str | None = None,
    overwrite: bool = False,
    frames=None,
) -> dict:
    """Exports a stream, and compares it with Keras over some frames.

    The signature `serving_default` takes `images`, one frame of raw pixels of shape
    `(1, height, width, channels)`, and the state of `posterior.initial_state()` by its
    names; it gives `probabilities`, the mean of the last frames, and all of the next
    state but the `seed`, which stays. The first state is of zeros, and of any seed: the
    same seed draws the same as in Keras. Whoever runs it sets `count` to 0 to begin a
    new scene. `training.runtimes.streams.open_stream` runs it.

    Args:
        kind: `"saved_model"`, or `"tflite"` for LiteRT.
        posterior: What to export.
        path: The folder or file to write.
        quantization: Of a LiteRT file: `"float16"` or `"dynamic"`, as
            `training.export.export_tflite` takes it.
        overwrite: Whether to replace what lies at `path`.
        frames: At least two frames for the check, of shape `(count, height, width,
            channels)`; noise by default.

    Returns:
        As `training.export.export_saved_model`.

    Raises:
        ValueError: If there is a future, it cannot be exported, or the export differs
            from it.
        FileExistsError: If something lies at `path`.
    """
    layers.checks.check_choice(kind, "kind", WRITERS)
    layers.checks.check_choice(quantization, "quantization", QUANTIZATIONS)
    if quantization and kind != "tflite":
        raise ValueError(
            "`quantization` is for LiteRT files. Received: "
            f"quantization={quantization}, kind={kind}"
        )
    posterior = checked.posterior_of(posterior, 1)
    if quantization and integers.is_quantized(posterior):
        raise ValueError(
            "The network was trained to compute as integers do, and a stream of it is "
            "exported without `quantization`. Received: "
            f"quantization={quantization}, model={posterior.name}"
        )
    litert.check_precision(posterior)
    start, path = time.perf_counter(), pathlib.Path(path)
    frames = parity.check_images(frames, posterior.image_shape, "frames")
    frames = np.resize(frames, (max(len(frames), _NUM_FRAMES), *frames.shape[1:]))
    with checked.replacing(path, overwrite) as target:
        WRITERS[kind](posterior, target, quantization)
        run = streams.open_stream(target)
        difference = _compare(posterior, run, frames, quantization)
    return {
        "path": str(path),
        "bytes": files.size(path),
        "num_samples": 1,
        "classes": posterior.classes,
        "promise": {},
        "max_difference": difference,
        "tolerance": _tolerance(posterior, quantization),
        "batch_sizes": (1,),
        "seconds": round(time.perf_counter() - start, 1),
    }


def step_function(posterior: Temporal) -> Callable:
    """Returns a `tf.function` of a batch of one frame, and of the values of the state.

    Args:
        posterior: What is exported.

    Returns:
        A function to a dict, from `probabilities` to the next state.
    """
    state = posterior.initial_state()
    specs = [tf.TensorSpec((1, *posterior.image_shape), "float32", name=streams.IMAGES)]
    specs += [tf.TensorSpec(v.shape, v.dtype, name=k) for k, v in state.items()]

    def step(images, *values):
        given = dict(zip(state, values, strict=True))
        probs, found = posterior.step(images[0], given)
        keras_internals.clear_losses(posterior)  # They are tensors of the graph.
        changed = {k: v for k, v in found.items() if k != "seed"}
        return {streams.PROBS: probs[None], **changed}

    return tf.function(step, specs, autograph=False)


def _write_saved_model(posterior, target, quantization):
    saved_model.save({"serving_default": step_function(posterior)}, target)
    label_files.write(target, posterior.classes)


def _write_tflite(posterior, target, quantization):
    folder = target.parent / "saved_model"
    function = step_function(litert.for_files(posterior))
    saved_model.save({"serving_default": function}, folder)
    target.write_bytes(litert.convert(folder, quantization))
    label_files.attach(target, posterior.classes)


# By the format.
WRITERS = {"saved_model": _write_saved_model, "tflite": _write_tflite}


def _tolerance(posterior, quantization) -> float:
    """Returns the largest difference of a probability."""
    own = parity.TOLERANCES[quantization]
    return min(own * _OF_PIXELS, 0.5) if posterior.map_shape else own


def _compare(posterior, run, frames, quantization) -> float:
    """Returns the largest difference of a probability over some frames.

    Raises:
        ValueError: If it is too large, or the state or the seed counts otherwise.
    """
    tolerance, largest, found = _tolerance(posterior, quantization), 0.0, {}
    for seed in (1, 2):
        state, other = posterior.initial_state(seed), run.initial_state(seed)
        for frame in frames:
            expected, state = posterior.step(frame, state)
            found[seed], other = run.step(frame, other)
            difference = np.max(np.abs(found[seed] - np.asarray(expected)))
            largest = float(np.maximum(largest, difference))  # NaN if one is.
            counts = [
                (k, int(state[k]), int(other[k]))
                for k in ("count", "number")
                if k in state and int(state[k]) != int(other[k])
            ]
            if counts or not largest <= tolerance:
                raise ValueError(
                    "The exported stream differs from Keras, so it was not kept. "
                    f"Received: max_difference={largest:.3g}, tolerance={tolerance}, "
                    f"counts={counts}"
                )
    if posterior.draws and np.array_equal(found[1], found[2]):
        raise ValueError("The exported stream ignores its seed, so it was not kept.")
    return largest
