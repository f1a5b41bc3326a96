"""Trainings of the members of a deep ensemble, one after the other, in one folder."""

import json

import keras
from absl import logging

from layers import checks
from training import run
from zoo import finding
from zoo.storage import files


def run_members(
    model: str,
    recipe: str,
    workdir: str,
    num_members: int,
    seed: int = 0,
    **settings,
) -> list[dict]:
    """Trains several networks that differ in their seeds.

    Each is a training by itself, in the folder `seed<seed>` of the work folder, as
    `training.run.run_training` runs it: called again, those that have ended stay as
    they are, and the one that was stopped goes on. When all have ended, a file
    `ensemble.json` names their folders, and the work folder is an ensemble for
    `zoo.load`, `zoo-evaluate`, `zoo-export` and `zoo-publish`.

    Args:
        model: Name of the model.
        recipe: Name of the recipe.
        workdir: The work folder, a local path.
        num_members: The number of networks, two at least.
        seed: Seed of the first; the others have those behind it.
        **settings: Other arguments of `run_training`.

    Returns:
        The last row of the metrics of each.

    Raises:
        ValueError: If there are less than two, the work folder is a URL or that of a
            single training, or the training has several workers.
    """
    if checks.check_count(num_members, "num_members") < 2:
        raise ValueError(
            "An ensemble has two members at least. Received: num_members=1"
        )
    distribution = settings.get("distribution")
    folder = run.folder_of_several(workdir, distribution, "several members")
    names, rows = [f"seed{seed + number}" for number in range(num_members)], []
    for number, name in enumerate(names):
        logging.info("Member %d of %d: %s", number + 1, num_members, folder / name)
        rows.append(
            run.run_training(
                model, recipe, str(folder / name), seed=seed + number, **settings
            )
        )
        keras.backend.clear_session()
    with files.replacing(folder / finding.ENSEMBLE_FILE) as temporary:
        temporary.write_text(json.dumps({"members": names}) + "\n", encoding="utf-8")
    return rows
