"""A compression by names: what `zoo-compress` runs."""

import json
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

import zoo
from training import run
from zoo.channels import multiply_adds
from zoo.compressed import compression_of
from zoo.storage import files, urls

FILE = "compression.json"  # In the folder of the training.
SCORES = {"l1": "filters", "scale": "slimming"}  # By their name in a recipe.


def settings_of(
    bits: int | None = None,
    sparsity: float | None = None,
    filters: float | None = None,
    score: str | None = None,
    teacher: str | None = None,
    teacher_weights: str | None = None,
    temperature: float | None = None,
    weight: float | None = None,
    spread: bool = False,
    frozen_epochs: int | None = None,
) -> list[str]:
    """Returns the settings of a recipe that make a network smaller.

    Args:
        bits: Bits of the weights, 8 or 4, in a network that computes as integers do.
        sparsity: The share of the weights that become zero, in (0, 1).
        filters: The share of the filters that are removed, in (0, 1).
        score: What ranks these: `"l1"`, the norm of their kernels, by default; or
            `"scale"`, that of the normalization behind.
        teacher: The network or the ensemble that it learns from.
        teacher_weights: Where the weights of that lie.
        temperature: That of the distillation.
        weight: The weight of the teacher, in [0, 1].
        spread: Whether it learns how far the teacher's predictions are apart too.
        frozen_epochs: The last epochs in which statistics stay.

    Returns:
        As `training.run.change_recipe` takes them.

    Raises:
        ValueError: If nothing makes it smaller, or a setting is for another one.

    Example:

    >>> settings_of(bits=8, frozen_epochs=2)
    ['weight_bits=8', 'frozen_epochs=2']
    """
    if sparsity is not None and filters is not None:
        raise ValueError(
            "Weights become zero along a training, and filters go before one: do one "
            "after the other, with the folder of the first as the `weights` of the "
            f"second. Received: sparsity={sparsity}, filters={filters}"
        )
    if bits is None and sparsity is None and filters is None and teacher is None:
        raise ValueError(
            "Nothing makes the network smaller: give `bits`, `sparsity`, `filters` or "
            "a `teacher`, or some of them."
        )
    own_of = {
        "filters": (filters, {"score": score}),
        "teacher": (
            teacher,
            {
                "teacher_weights": teacher_weights,
                "temperature": temperature,
                "weight": weight,
                "spread": spread or None,
            },
        ),
    }
    for name, (value, own) in own_of.items():
        for key, given in own.items():
            if value is None and given is not None:
                raise ValueError(
                    f"`{key}` is for `{name}`. Received: {key}={given}, {name}=None"
                )
    if spread and weight is not None:
        raise ValueError(
            "Labels do not count where the spread of a teacher is learned, so there is "
            f"no `weight`. Received: weight={weight}, spread=True"
        )
    found = []
    if bits is not None:
        found.append(f"weight_bits={bits}")
    if sparsity is not None:
        found.append(f"pruning=magnitude:sparsity={sparsity}")
    if filters is not None:
        if score not in (None, *SCORES):
            raise ValueError(
                f"`score` must be one of {', '.join(SCORES)}. Received: score={score}"
            )
        found.append(f"pruning={SCORES[score or 'l1']}:sparsity={filters}")
    if teacher is not None:
        parts = ["distribution_distillation" if spread else "distillation"]
        parts += [f"temperature={temperature}"] if temperature is not None else []
        parts += [f"weight={weight}"] if weight is not None else []
        found += [f"objective={':'.join(parts)}", f"teacher={teacher}"]
        found += [f"teacher_weights={teacher_weights}"] if teacher_weights else []
    if frozen_epochs is not None:
        found.append(f"frozen_epochs={frozen_epochs}")
    return found


def run_compression(
    model: str,
    recipe: str,
    workdir: str,
    changes: Sequence[str] = (),
    smaller: Sequence[str] = (),
    **settings,
) -> dict:
    """Makes a network smaller by a training, which the same call resumes.

    Args:
        model: Name of the model.
        recipe: Name of the recipe.
        workdir: Folder of the training, as `training.run.run_training` takes it, and
            of `compression.json`, which has what this returns.
        changes: Settings of the recipe.
        smaller: More of them, those of `settings_of`.
        **settings: Other arguments of `run_training`, such as the `weights` to start
            from.

    Returns:
        The last row of the metrics as `metrics`; the `compression`; and of the network
        the number of its `weights` and of those that are `not_zero`, in kernels, and
        its `multiply_adds` for an image, with those of the `whole` network.
    """
    row = run.run_training(
        model,
        recipe,
        workdir,
        changes=[*changes, *smaller],
        command="zoo-compress",
        **settings,
    )
    # As whoever loads it from here on has it.
    spec = zoo.parse(model).of_model
    made = zoo.load(spec, weights=workdir)
    whole = zoo.build(spec, made.input_shape[1:], made.output_shape[-1])
    report = {
        "compression": compression_of(made),
        **sizes(made),
        "whole": sizes(whole),
        "metrics": row,
    }
    if not urls.is_url(workdir):
        with files.replacing(pathlib.Path(workdir) / FILE) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def sizes(model: keras.Model) -> dict[str, int | None]:
    """Returns how large a network is.

    Args:
        model: Keras model.

    Returns:
        The numbers of `weights` in kernels, of those `not_zero`, and of `multiply_adds`
        for an image, None where images have no size of their own.
    """
    kernels = [
        ops.convert_to_numpy(weight)
        for weight in model.trainable_weights
        if len(weight.shape) > 1
    ]
    shape = model.input_shape[1:]
    return {
        "weights": sum(kernel.size for kernel in kernels),
        "not_zero": int(sum(np.count_nonzero(kernel) for kernel in kernels)),
        "multiply_adds": None if None in shape else multiply_adds(model),
    }


def describe(report: dict) -> str:
    """Returns what a compression has made, in a line."""
    whole = report["whole"]
    parts = [
        f"{report['not_zero']:,} weights in kernels that are not zero, of "
        f"{whole['weights']:,}"
    ]
    if report["multiply_adds"] is not None:
        parts.append(
            f"{report['multiply_adds']:,} multiply-adds for an image, of "
            f"{whole['multiply_adds']:,}"
        )
    if bits := report["compression"].get("weight_bits"):
        parts.append(f"weights of {bits} bits")
    return "; ".join(parts)
