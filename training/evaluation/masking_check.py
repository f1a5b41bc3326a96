"""Whether attacks on the models of an evaluation are as strong as they seem."""

import pathlib
from collections.abc import Mapping

import keras
from absl import logging

from training.attacks.attacked import Attack
from training.attacks.masking import Masking, gradient_masking
from training.evaluation.evaluate import check_dataset
from training.evaluation.sampling import Passes
from training.report.rows import write_text
from zoo.posterior import Posterior, Scaler

COUNT = 200  # Images that are looked at.


def check(
    models: Mapping[str, keras.Model | Posterior],
    dataset,
    attack: Attack,
    batch_size: int,
    seed: int = 0,
) -> dict[str, Masking]:
    """Looks for masked gradients of each model; each is a surrogate for the others.

    Scalers are left out, for the gradients are those of what they scale.

    Args:
        models: Models and posteriors by name, which have adapted.
        dataset: A `training.data.ImageData` with the classes of the models; a sample of
            200 images is taken.
        attack: The attack of the evaluation, with its largest radius.
        batch_size: Images per step.
        seed: Seed of the evaluation.

    Returns:
        What was found, by the names of the models.
    """
    dataset = dataset.sample(COUNT)
    models = {n: m for n, m in models.items() if not isinstance(m, Scaler)}
    found = {}
    for name, model in models.items():
        # Labels in the order of the classes of the model.
        own = check_dataset(Passes(model, [1], seed, name=name), dataset)
        others = {n: m for n, m in models.items() if n != name}
        found[name] = gradient_masking(
            model,
            own.images,
            own.labels,
            attack.epsilon,
            attack.norm,
            attack.steps,
            attack.draws,
            others,
            seed,
            batch_size,
        )
        for text in found[name].warnings:
            logging.warning("%s: %s", name, text)
    return found


def texts(found: Mapping[str, Masking]) -> list[str]:
    """Returns the warnings, a line each."""
    return [f"{name}: {text}" for name, made in found.items() for text in made.warnings]


def write(found: Mapping[str, Masking], path: pathlib.Path):
    """Writes what was found as a Markdown table, and the warnings below it."""
    kinds = list(dict.fromkeys(k for made in found.values() for k in made.accuracies))
    heading = ["Model", *kinds, "zero gradient", "loss does not rise"]
    lines = [heading, ["---"] + ["---:"] * (len(heading) - 1)]
    for name, made in found.items():
        shares = [made.accuracies.get(kind) for kind in kinds]
        shares += [made.flat, made.falling]
        lines.append([name, *("" if s is None else f"{s:.1%}" for s in shares)])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    below = "".join(f"* {text}\n" for text in texts(found)) or "No sign was found.\n"
    write_text(f"{table}\n{below}", path)
