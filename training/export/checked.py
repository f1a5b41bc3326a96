"""What all exports share: they are compared with Keras before they are kept."""

import contextlib
import os
import pathlib
import tempfile
import time
from collections.abc import Callable

import keras
from keras import ops

from training.export import parity
from zoo import predictive
from zoo.conformal import Decision
from zoo.posterior import Posterior
from zoo.posterior.base import never_empty
from zoo.posterior.monte_carlo import as_posterior
from zoo.storage import files

# Of what is exported; others have no probabilities.
TASKS = ("classification", "segmentation")
# One of these is in every folder that is an export.
_IN_FOLDERS = ("saved_model.pb", "model.xml", "model.tflite")


def posterior_of(model: keras.Model | Posterior, num_samples: int) -> Posterior:
    """Returns the posterior to export; a deterministic model has one pass.

    Args:
        model: From images to logits, or a posterior, which has its own samples.
        num_samples: Forward passes of a model.

    Raises:
        ValueError: If there is no way to export it, it returns no logits, or it has
            not learned yet what it needs to know.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Models are exported with KERAS_BACKEND=tensorflow; weight files are the "
            f"same for all backends. Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    posterior = as_posterior(model, num_samples)  # Checks both.
    shape = (None, *posterior.image_shape)
    if posterior.task not in TASKS:
        raise ValueError(
            "Exports have probabilities of classes, which a regressor has not; Keras "
            "writes one by `model.export(path)`. Received: "
            f"model={model.name}, for {posterior.task}"
        )
    if len(shape) != 4:
        raise ValueError(
            "`model` must take images of shape (batch, height, width, channels). "
            f"Received: model={model.name} with input_shape={shape}"
        )
    if not posterior.is_adapted:
        raise ValueError(
            "The posterior has not learned yet what it needs to know: call its "
            f"`adapt` with labeled images. Received: model={model.name}"
        )
    if not posterior.is_deterministic(parity.check_images(None, posterior.image_shape)):
        if names := posterior.unknown_layers:
            raise ValueError(
                "The model draws by layers whose noise an export would repeat or lose; "
                "draw by `layers.MCDropout` or another `layers.RandomLayer` alone. "
                f"Received: layers that may draw: {', '.join(names)}"
            )
        return posterior
    return posterior.settled()


def check_decision(decision: Decision | None):
    """Checks that a decision is one for an export.

    Raises:
        ValueError: If it has not adapted yet, or draws.
    """
    check_draws(decision)
    if decision is not None and not decision.is_adapted:
        raise ValueError(
            "The decision promises nothing before it has seen labeled images: call its "
            f"`adapt`. Received: decision={decision.name}"
        )


def check_draws(decision: Decision | None):
    """Checks that a decision is a function of the probabilities.

    Raises:
        ValueError: If it draws.
    """
    if decision is not None and decision.draws:
        raise ValueError(
            "A randomized decision gives one image now this set and now that one, and "
            "is not exported; the same without draws has the same promise. Received: "
            f"decision={decision.name}"
        )


def scored(
    posterior: Posterior,
    images,
    seed=None,
    softmax: Callable = ops.softmax,
    spread: bool = False,
) -> tuple:
    """Returns the mean probabilities, in few operators, and the scores by name.

    Args:
        posterior: What to export.
        images: Tensor of one image at least, of shape `(batch, *image_shape)`.
        seed: Scalar integer tensor, of a stochastic posterior.
        softmax: From logits to probabilities.
        spread: Whether the `expected_entropy` of several passes is among the scores.
    """
    # The mean of one sample would be two operators more.
    if seed is None and posterior.num_samples == 1 and not posterior.score_names:
        return softmax(posterior.logits(images)), {}
    with never_empty():
        key = 0 if seed is None else seed
        logits, scores = posterior.first_scored(images, key, 0, posterior.num_samples)
    if spread and posterior.num_samples > 1:
        scores = {**scores, "expected_entropy": predictive.expected_entropy(logits)}
    return ops.mean(softmax(logits), axis=0), scores


def check_scores(posterior: Posterior, what: str):
    """Checks that a posterior gives no scores beside probabilities.

    Args:
        posterior: What to export.
        what: Why these cannot be exported, and what can.

    Raises:
        ValueError: If it does.
    """
    if posterior.score_names:
        raise ValueError(
            f"The posterior also gives scores, {', '.join(posterior.score_names)}; "
            f"{what}. Received: model={posterior.name}"
        )


def write_checked(
    posterior,
    path,
    write,
    tolerance,
    overwrite,
    images,
    decision=None,
    batch=None,
) -> dict:
    """Writes an export, compares it with the posterior, and keeps it if it agrees.

    Args:
        posterior: What to export.
        path: Where.
        write: Writes to a path, and returns a `parity.Runner` of what it wrote.
        tolerance: The largest difference of a probability.
        overwrite: Whether to replace what lies at `path`.
        images: At least two images for the check, of shape `(count, height, width,
            channels)`; if None, noise.
        decision: What is exported with it, if anything.
        batch: How many images a call has; None for any number.

    Returns:
        As `export_saved_model`.
    """
    start, path = time.perf_counter(), pathlib.Path(path)
    images = parity.check_images(images, posterior.image_shape)
    with replacing(path, overwrite) as target:
        report = parity.check(
            posterior, write(target), images, tolerance, decision, batch
        )
    return {
        "path": str(path),
        "bytes": files.size(path),
        "num_samples": posterior.num_samples,
        "classes": posterior.classes,
        "promise": dict([decision.promise]) if decision is not None else {},
        **report,
        "seconds": round(time.perf_counter() - start, 1),
    }


def check_place(path: str | os.PathLike, overwrite: bool):
    """Checks that an export may be written to a path.

    Args:
        path: Path of a file or a folder.
        overwrite: Whether to replace what lies there.

    Raises:
        FileExistsError: If it lies there and is not to be replaced, or is no export.
    """
    path = pathlib.Path(path)
    if path.is_dir() and not any((path / name).exists() for name in _IN_FOLDERS):
        raise FileExistsError(
            f"{path} is a folder that holds none of {', '.join(_IN_FOLDERS)}."
        )
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; `overwrite` replaces it.")


@contextlib.contextmanager
def replacing(path: pathlib.Path, overwrite: bool):
    """Gives a temporary path, which becomes `path` if no error occurs.

    Args:
        path: Path of a file or a folder.
        overwrite: Whether to replace what lies there.

    Raises:
        FileExistsError: As `check_place`.
    """
    check_place(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        target = pathlib.Path(folder, "new")
        yield target
        _replace(target, path, pathlib.Path(folder, "old"))


def _replace(target, path, old):
    """Puts a file or a folder into a place; what lies there stays if that fails."""
    if not (target.is_dir() or path.is_dir()):
        os.replace(target, path)
        return
    try:
        if os.path.lexists(path):
            os.replace(path, old)
        os.replace(target, path)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(path):
            os.replace(old, path)
        raise
