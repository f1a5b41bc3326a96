"""Whether an exported file computes what the Keras model computes."""

import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from zoo import arrays, outputs, predictive

# The largest difference of a probability from Keras', by quantization.
TOLERANCES = {
    None: 1e-4,
    "float16": 0.02,
    **{"dynamic": 0.2, "weight_only": 0.2},
    **{"int8": 0.5, "int4": 0.8, "weight_only_int4": 0.8},
}

# Of a score, in units of itself, or of 1 where it is smaller.
SCORE_TOLERANCE = 1e-2

# A difference of probabilities that no rounding hides.
_VISIBLE = 1e-3
_CALLS = 30

# From images and a seed to outputs, among them the mean `probabilities`.
Runner = Callable[[np.ndarray, int], dict[str, np.ndarray]]


def check(
    posterior, run: Runner, images, tolerance: float, decision=None, batch=None
) -> dict:
    """Compares an export with the posterior, at two batch sizes and for two seeds.

    Args:
        posterior: What was exported.
        run: Runs the export.
        images: Array of shape `(count, height, width, channels)`.
        tolerance: The largest difference of a probability.
        decision: What was exported with it, if anything.
        batch: How many images a call has, where that is fixed.

    Returns:
        `max_difference`, `tolerance` and `batch_sizes`.

    Raises:
        ValueError: If the probabilities differ by more, or the decisions.
    """
    outputs, largest = {}, 0.0
    calls = _calls(posterior, images, batch)
    for seed, part, reference, scores in calls:
        found = run(part, seed)
        outputs[seed] = found["probabilities"]
        check_decision(decision, found)
        for name, score in scores.items():
            check_score(name, found[name], score)
        if "expected_entropy" in found:
            spread = predictive.expected_entropy(posterior(part, seed=seed))
            check_score("expected_entropy", found["expected_entropy"], spread)
        difference = np.max(np.abs(outputs[seed] - reference))
        largest = float(np.maximum(largest, difference))  # NaN if one is.
        mass = np.sum(outputs[seed], axis=-1)
        if not (largest <= tolerance and np.all(np.abs(mass - 1) < 1e-3)):
            raise ValueError(
                "The exported model differs from Keras, so it was not kept. "
                f"Received: max_difference={largest:.3g}, tolerance={tolerance}, "
                f"batch_size={len(part)}, sum of probabilities={np.ravel(mass)[0]:.3g}"
            )
    (*_, first, _), (*_, second, _) = calls[-2:]  # Of the same images.
    varies = np.max(np.abs(first - second)[:1]) > _VISIBLE
    if varies and np.array_equal(outputs[1], outputs[2]):
        raise ValueError("The exported model ignores its seed, so it was not kept.")
    sizes = tuple(sorted({len(part) for _, part, *_ in calls}))
    return {"max_difference": largest, "tolerance": tolerance, "batch_sizes": sizes}


def _calls(posterior, images, batch) -> list[tuple]:
    """Returns seeds, images, and what Keras gives for both: means, and scores by name.

    The last two are of the same images, and of other seeds.
    """
    if batch is not None:  # Draws depend on the place in a batch.
        count = -(-len(images) // batch) * batch
        whole = np.resize(images, (count, *images.shape[1:]))  # Some of them again.
        parts = np.split(whole, count // batch)[::-1]
        seeds = [*[(1, part) for part in parts], (2, parts[-1])]
        return [
            (seed, part, expected(posterior, part, seed), posterior.scored(part, 1)[1])
            for seed, part in seeds
        ]
    # Samples do not depend on the batch: those of one image are in those of all, and
    # for another batch size Keras would trace the model once more.
    one, two = (expected(posterior, images, seed) for seed in (1, 2))
    _, scores = posterior.scored(images, seed=1)
    first = {name: score[:1] for name, score in scores.items()}
    head = images[:1]
    return [
        (1, images, one, scores),
        (1, head, one[:1], first),
        (2, head, two[:1], first),
    ]


def check_decision(decision, outputs):
    """Checks what an export has decided from its own probabilities.

    Args:
        decision: An adapted decision, or None.
        outputs: What came out, by name.

    Raises:
        ValueError: If it is not what the decision says.
    """
    if decision is None:
        return
    for name, value in decision.summary(outputs["probabilities"]).items():
        wanted, found = keras.ops.convert_to_numpy(value), outputs[name]
        if found.dtype != wanted.dtype or not np.array_equal(found, wanted):
            raise ValueError(
                "The exported model decides otherwise than Keras, so it was not kept. "
                f"Received: {name}={found[0]} in place of {wanted[0]}"
            )


def check_score(name: str, found, wanted):
    """Checks a score of images, which may be of any size.

    Args:
        name: Of the score.
        found: What came out, of shape `(batch, ...)`.
        wanted: What Keras gives.

    Raises:
        ValueError: If the two differ by more than rounding.
    """
    wanted = keras.ops.convert_to_numpy(wanted)
    allowed = SCORE_TOLERANCE * np.maximum(np.abs(wanted), 1)
    difference = np.abs(found - wanted)
    if not np.all(difference <= allowed):
        worst = int(np.argmax(difference / allowed))
        raise ValueError(
            "The exported model gives another score than Keras, so it was not kept. "
            f"Received: {name}={np.ravel(found)[worst]} in place of "
            f"{np.ravel(wanted)[worst]}"
        )


def expected(posterior, images, seed: int) -> np.ndarray:
    """Returns the mean probabilities in Keras, of shape `(batch, num_classes)`."""
    logits = keras.ops.convert_to_numpy(posterior(images, seed=seed)).astype("float64")
    outputs.check_logits(logits, f"What '{posterior.name}' returns")
    powers = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return np.mean(powers / np.sum(powers, axis=-1, keepdims=True), axis=0)


def check_images(images, image_shape, name: str = "images") -> np.ndarray:
    """Returns images for the check, in whole numbers.

    Args:
        images: Array of at least two images in `[0, 255]`. If None, they are made of
            noise, each brighter than the one before.
        image_shape: `(height, width, channels)`; of noise, sides of None become 64.
        name: What the images are called in an error.

    Returns:
        float32 array of shape `(count, height, width, channels)`.

    Raises:
        ValueError: If the shape is another.
    """
    if images is None:
        shape = (3, *(side or 64 for side in image_shape))
        levels = np.reshape([64, 160, 256], (3, 1, 1, 1))
        images = np.floor(levels * np.random.default_rng(0).uniform(0, 1, shape))
    arrays.check_pixels(np.asarray(images), name)
    images = np.floor(np.asarray(images, "float32"))
    pairs = zip(image_shape, images.shape[1:], strict=False)
    fits = images.ndim == 4 and all(side in (None, size) for side, size in pairs)
    if not fits or len(images) < 2:
        raise ValueError(
            f"`{name}` must be two or more of shape {image_shape}. "
            f"Received: {name} of shape {images.shape}"
        )
    return images


def saved_model_runner(path: str | os.PathLike, num_samples: int) -> Runner:
    """Returns a function that runs a SavedModel, loaded anew.

    Args:
        path: Its folder.
        num_samples: Forward passes of a stochastic model.

    Returns:
        A function that calls the signature `sample`, or `serving_default` in its
        absence. It raises a ValueError if the other signatures contradict.
    """
    loaded = tf.saved_model.load(os.fspath(path))  # Lives as long as the function.
    signatures = loaded.signatures

    def serve(images):
        outputs = signatures["serving_default"](images=images)
        return {name: value.numpy() for name, value in outputs.items()}

    def serve_otherwise(images):
        pixels = tf.cast(images, tf.uint8)
        yield signatures["serve_uint8"](images=pixels)
        if "serve_encoded" in signatures:
            files = tf.stack([tf.io.encode_png(image) for image in pixels])
            yield signatures["serve_encoded"](image_bytes=files)

    def run(images, seed):
        first = serve(images)
        others = [o["probabilities"].numpy() for o in serve_otherwise(images)]
        if "sample" not in signatures:
            probs = first["probabilities"]
            agree = [np.abs(probs - other) <= TOLERANCES[None] for other in others]
            return {**first, "probabilities": np.where(np.all(agree, 0), probs, np.nan)}
        outputs, others = (
            signatures["sample"](
                images=tf.constant(images),
                num_samples=tf.constant(num_samples),
                seed=tf.constant(number),
            )
            for number in (seed, seed + 1)
        )
        # The samples of an ensemble differ, and need not be drawn.
        varies = np.max(np.abs(outputs["samples"] - others["samples"])) > _VISIBLE
        repeats = (serve(images) for _ in range(_CALLS))  # Few masks can coincide.
        name = "probabilities"
        if varies and all(np.array_equal(first[name], r[name]) for r in repeats):
            raise ValueError("Two calls of the exported model draw the same noise.")
        return {name: value.numpy() for name, value in outputs.items()}

    return run
