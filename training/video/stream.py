"""A stream of frames through a network, frame by frame."""

import contextlib
import math
import time
from collections.abc import Iterable

import numpy as np

from training import progress
from training.video.outputs import Output, Rows
from training.video.pictures import Pictures, summary
from training.video.sources import Source

COLUMNS = "frame", "name", "reset", "prediction", "confidence", "entropy"


def run_stream(
    posterior,
    source: Source,
    outputs: Iterable[Output] = (),
    rows: Rows | None = None,
    seed: int = 0,
    limit: float = math.inf,
) -> dict:
    """Predicts frame by frame, and draws and writes what it predicts.

    Frames are resized to those of the network as a whole. The mean begins anew where
    the name of a frame says that a scene does, or its change, as `cut` of the posterior
    has it. Outputs are closed at the end, also at that by an error or an interrupt.

    Args:
        posterior: A `zoo.posterior.Temporal`, or what
            `training.runtimes.streams.open_stream` returns.
        source: Where frames come from.
        outputs: What takes pictures of the frames beside the predictions.
        rows: What takes a row of `COLUMNS` for each frame.
        seed: Seed of the draws.
        limit: How many frames at most.

    Returns:
        The number of `frames` and of `resets`, the first frame not among these; frames
        a second of all, `fps`, and of the network alone, `network_fps`, without the
        first frame, with which it is compiled.

    Raises:
        ValueError: If a frame is damaged or of another size than the first.
        OSError: If a camera is gone, or nothing can be written.
    """
    outputs = list(outputs)
    state = posterior.initial_state(seed)
    classes = posterior.classes or tuple(map(str, range(posterior.num_classes)))
    pictures = Pictures(classes) if outputs else None
    seconds, resets, frames, begin = [], 0, 0, None
    with contextlib.ExitStack() as stack:
        for output in (*outputs, *([rows] if rows else [])):
            stack.enter_context(output)
        total = min(source.total, limit)
        done = stack.enter_context(progress.track("Stream", total, unit="frames"))
        for frame in source.frames(limit):
            state = posterior.reset(state) if frame.begins else state
            pixels = fit(frame.pixels, posterior.image_shape)
            start = time.perf_counter()
            found, state = posterior.step(pixels, state)
            probs = np.asarray(found)
            seconds.append(time.perf_counter() - start)
            is_new = int(state["count"]) == 1
            resets += is_new and frames > 0
            if rows:
                own = {"frame": frames, "name": frame.name, "reset": is_new}
                rows.write({**own, **summary(probs, classes)})
            frames += 1
            picture = pictures and pictures(frame.pixels, probs)
            for output in outputs:
                output.write(picture)
            begin = time.perf_counter() if begin is None else begin
            done(1)
            if any(output.has_ended for output in outputs):
                break
        passed = time.perf_counter() - begin if frames > 1 else 0.0
    rest = sum(seconds[1:])
    return {
        "frames": frames,
        "resets": int(resets),
        "fps": (frames - 1) / passed if passed else math.nan,
        "network_fps": (frames - 1) / rest if rest else math.nan,
    }


def fit(pixels: np.ndarray, image_shape: tuple) -> np.ndarray:
    """Returns a frame in the size and with the channels that a network takes.

    Args:
        pixels: uint8 array of shape `(height, width, 3)`.
        image_shape: `(height, width, channels)`, with None for any size.

    Returns:
        uint8 array of that shape.

    Raises:
        ValueError: If the network takes neither gray nor RGB.
    """
    from PIL import Image

    height, width, channels = image_shape
    modes = {1: "L", 3: "RGB"}
    if channels not in modes:
        raise ValueError(
            "Frames are gray or RGB, of one channel or three. Received: a network with "
            f"image_shape={image_shape}"
        )
    size = width or pixels.shape[1], height or pixels.shape[0]
    image = Image.fromarray(pixels)
    if image.size != size:
        image = image.resize(size, Image.BILINEAR)
    found = np.asarray(image.convert(modes[channels]))
    return found.reshape(size[1], size[0], channels)
