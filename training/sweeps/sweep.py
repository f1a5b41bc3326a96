"""Trainings with several values of settings, one after the other, in one folder."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence

import keras
from absl import logging

from training import progress, run
from training.sweeps.settings import SUMMARY_FILE

# Arguments of `run_training` that may have several values; others are of the recipe.
_ARGUMENTS = ("model", "limit", "seed", "epochs")


def run_sweep(
    model: str, recipe: str, workdir: str, axes: Mapping[str, Sequence], **settings
) -> list[dict]:
    """Trains with each combination of values.

    Each training is one by itself, as `training.run.run_training` runs it, in a folder
    of its own, called by its values, such as `batch_size=32+seed=0`. Called again,
    those that have ended stay as they are, and the one that was stopped goes on. One
    whose loss is not finite has ended too: the sweep says so and goes on to the next.

    The file `sweep.jsonl` has a row for each that has ended, with the values of its
    settings, its `folder`, its `state`, `"trained"` or `"diverged"`, and the last row
    of its metrics or the `error`.

    Args:
        model: Name of the model, where it is no setting of the sweep.
        recipe: Name of the recipe.
        workdir: The work folder, a local path.
        axes: Values by the names of settings: those of recipes, `model`, `limit`,
            `epochs` and `seed`.
        **settings: Other arguments of `run_training`.

    Returns:
        The rows of the file.

    Raises:
        ValueError: If the work folder is a URL or that of a single training, or the
            training has several workers; or a setting has another value too, or one
            that no recipe has.
    """
    folder = run.folder_of_several(workdir, settings.get("distribution"), "a sweep")
    _check_once(axes, settings)
    done = {row["folder"]: row for row in progress.read_rows(folder / SUMMARY_FILE)}
    combinations = list(itertools.product(*axes.values()))
    base, rows = run.load_recipe(recipe), []
    for values in combinations:  # None ends the sweep when others are trained.
        chosen = dict(zip(axes, values, strict=True))
        changes = [*settings.get("changes", ()), *_changes(chosen)]
        run.change_recipe(base, changes, {**settings, **chosen}.get("epochs"))
    for number, values in enumerate(combinations, 1):
        chosen = dict(zip(axes, values, strict=True))
        given = {**settings, "recipe": recipe, "model": model, **_arguments(chosen)}
        given["changes"] = [*settings.get("changes", ()), *_changes(chosen)]
        name = folder_name(chosen)
        logging.info("Training %d of %d: %s", number, len(combinations), name)
        identity = json.loads(json.dumps(given))
        if name in done and done[name]["settings"] == identity:
            row = done[name]
        else:
            # Metrics have a learning rate, too: that of the last step.
            row = {"folder": name, **_trained(folder / name, given), **chosen}
            row["settings"] = identity
            keras.backend.clear_session()
        rows.append(row)
        done[name] = row
        progress.write_rows(folder / SUMMARY_FILE, list(done.values()))
    return rows


def folder_name(values: Mapping) -> str:
    """Returns the name of the folder of a training, from the values of its settings.

    Example:

    >>> folder_name({"learning_rate": 0.1, "augmentations": ["flip", "crop4"]})
    'learning_rate=0.1+augmentations=flip,crop4'
    """
    parts = [
        f"{name}={re.sub(r'[^A-Za-z0-9_.,-]', '', json.dumps(value))}"
        for name, value in values.items()
    ]
    return "+".join(parts)


def _check_once(axes, settings):
    for name in axes:
        given = settings.get(name)
        if name in ("limit", "epochs") and given is not None:
            raise ValueError(
                f"'{name}' is a setting of the sweep and is given by itself too. "
                f"Received: {name}={given}, sweep={name}"
            )


def _arguments(chosen):
    return {name: value for name, value in chosen.items() if name in _ARGUMENTS}


def _changes(chosen):
    return [
        f"{name}={json.dumps(value)}"
        for name, value in chosen.items()
        if name not in _ARGUMENTS
    ]


def _trained(folder, given):
    """Returns what the row of a training has to say of its end."""
    try:
        last = run.run_training(workdir=str(folder), **given)
    except FloatingPointError as error:
        logging.warning("The training in '%s' diverged: %s", folder, error)
        return {"state": "diverged", "error": str(error)}
    return {"state": "trained", **last}
