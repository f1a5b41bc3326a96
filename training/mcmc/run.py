"""A sampling by names: model, recipe, data set, prior, work folder."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
from absl import logging

import zoo
from layers import checks
from training import progress, run
from training.bayesian.priors import ModelPrior, parse
from training.data import identities
from training.mcmc import diagnostics
from training.mcmc.chain import Sampling, path_of, run_chain
from training.mcmc.density import LogDensity, check_network
from zoo.presets import snapshots, training_images
from zoo.presets.weight_file import read_arrays, save_weights, variables
from zoo.publishing import training_record
from zoo.storage import files

DIAGNOSTICS_FILE = "diagnostics.json"
_LOOKED_AT = 1_000  # Weights, and images, of which diagnostics are computed.
_IMAGES = 100
_MIXED = 1.1  # The usual bound of R-hat.


def run_sampling(
    model: str,
    recipe: str,
    workdir: str,
    sampling: Sampling,
    prior: str | None = None,
    chains: int = 1,
    data_dir: str | None = None,
    dataset: str | None = None,
    limit: int | None = None,
    changes: Sequence[str] = (),
    seed: int = 0,
    jit_compile="auto",
    checkpoint_seconds: float = 60.0,
) -> dict:
    """Samples the weights of a network, or goes on where that was stopped.

    The likelihood is that of all training images as they are: nothing is augmented, and
    of the recipe only the data, their normalization, and the prior matter.

    Args:
        model: Name of the model, which must not draw or have batch normalization.
        recipe: Name of the recipe.
        workdir: Folder for the state of each chain, a file for each draw in
            `snapshots`, `model.safetensors` with the first of them, `recipe.json` and
            `diagnostics.json`.
        sampling: How to sample.
        prior: As `training.bayesian.priors.parse` takes it; by default that of the
            recipe.
        chains: How many, one after another. More of them may be asked for later.
        data_dir: Where the data lie; see `training.data.load`.
        dataset: Data set in place of the recipe's.
        limit: Maximal number of images, of each class its share.
        changes: Settings in place of the recipe's; see `training.run.change_recipe`.
        seed: Seed of all chains.
        jit_compile: Whether to compile with XLA; "auto" does so where there is no
            convolution, whose gradients XLA computes slowly in loops on processors.
        checkpoint_seconds: Time between checkpoints.

    Returns:
        What `diagnostics.json` has: for each chain the mean `acceptance` of its draws,
        the `step_size`, the mean number of `leapfrog_steps` and how many `diverged`;
        and for `weights` and `predictions` what `diagnostics.summary` gives.

    Raises:
        ValueError: If the network draws or has batch normalization, a density is not
            finite where a chain begins, or the folder has chains of other settings.
        FloatingPointError: If a chain diverges; those that are done are kept.
        BlockingIOError: If another process writes to the folder.
    """
    checks.check_count(chains, "chains")
    spec = zoo.parse(model)
    settings = run.change_recipe(run.load_recipe(recipe), changes)
    if settings.labels:
        raise ValueError(
            "`zoo-sample` takes the labels of all images; set labels=0. Received: "
            f"labels={settings.labels}"
        )
    if prior is not None:
        parse(prior)
        settings = dataclasses.replace(settings, prior=prior)
    train, _, _, data_record = run.load_sets(settings, dataset, data_dir, limit, spec)
    settings = dataclasses.replace(settings, image_size=train.input_shape[:2])
    if dataset not in (None, settings.dataset):
        settings = dataclasses.replace(settings, dataset=dataset, normalization=None)
    normalization = settings.normalization or train.measure_normalization()
    shape, classes = train.input_shape, train.classes
    keras.utils.set_random_seed(seed)
    network = zoo.build(spec, shape, len(classes), normalization, classes)
    check_network(network)
    of_weights = ModelPrior(settings.prior, network)
    of_weights.adapt(train.images)
    images = np.asarray(train.images[: len(train)])
    density = LogDensity(network, of_weights, images, train.labels)
    identity = {
        "model": str(spec),
        "prior": settings.prior,
        "training data": data_record["training"],
        "normalization": normalization,
        "classes": list(classes),
        "precision": network.dtype_policy.name,
    }
    folder = pathlib.Path(workdir)
    with files.claimed(folder):
        if not (folder / training_record.FILE).exists():
            run.write_record(
                folder,
                "zoo-sample",
                model=spec.stem,
                dataset=train.name,
                data=data_record,
                recipe=recipe,
                settings=dataclasses.asdict(settings),
                sampling=dataclasses.asdict(sampling),
                seed=seed,
                input_shape=shape,
                num_classes=len(classes),
                classes=classes,
                normalization=normalization,
                seen={"images": len(train), "held_out": train.held_out},
            )
        if not (folder / training_images.FILE).exists():
            found = identities.of_pixels(images)
            training_images.write(folder / training_images.FILE, found)
        traces = []
        for number in range(chains):
            trace = _run_chain(
                density,
                sampling,
                folder,
                identity,
                number,
                seed,
                _jit(network, jit_compile),
                checkpoint_seconds,
            )
            traces.append(_summary(trace, sampling))
            _log(number, traces[-1])
        found = {"chains": traces, "training_images": len(train)}
        found |= _diagnosed(network, folder, chains, sampling.num_results, images)
        with files.replacing(folder / DIAGNOSTICS_FILE) as temporary:
            temporary.write_text(json.dumps(found, indent=2) + "\n")
    return found


def _run_chain(
    density, sampling, folder, identity, number, seed, jit_compile, checkpoint_seconds
):
    """Runs a chain, and writes its draws."""
    import tensorflow as tf

    network, accepted = density.model, []

    def keep(draw, state):
        density.assign(state)
        path = snapshots.path_of_draw(folder, number, draw)
        save_weights(network, path)
        if not (folder / "model.safetensors").exists():
            save_weights(network, folder / "model.safetensors")

    def shown(step, left):
        accepted.append(step.acceptance)
        mean = np.mean(accepted[-10:])
        track.describe(
            f"Chain {number}: {left} transitions left, acceptance {mean:.2f}"
        )
        track.expect(left * step.leapfrog_steps + step.leapfrog_steps)
        track(step.leapfrog_steps)

    if not path_of(folder, number).exists():
        begin = np.random.default_rng((seed, number)).normal(size=density.size)
        density.check(tf.constant(begin), number)
    with progress.track(f"Chain {number}", 0, unit="leapfrog steps") as track:
        return run_chain(
            density,
            sampling,
            folder,
            identity,
            number,
            seed,
            keep,
            jit_compile=jit_compile,
            checkpoint_seconds=checkpoint_seconds,
            shown=shown,
        )


def _jit(network, jit_compile):
    if jit_compile != "auto":
        return jit_compile
    is_conv = keras.layers.Conv2D, keras.layers.DepthwiseConv2D
    on_gpu = any("gpu" in d.lower() for d in keras.distribution.list_devices())
    return on_gpu or not any(isinstance(layer, is_conv) for layer in network.layers)


def _summary(trace, sampling):
    """Returns what a chain did behind its burn-in, as numbers."""
    own = {name: values[sampling.burnin :] for name, values in trace.items()}
    return {
        "acceptance": float(own["acceptance"].mean()),
        "step_size": float(own["step_size"][-1]),
        "leapfrog_steps": float(own["leapfrog_steps"].mean()),
        "diverged": int(own["diverged"].sum()),
        "log_density": float(own["log_density"].mean()),
    }


def _log(number, row):
    text = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
    logging.info("Chain %d is done: %s", number, text)
    if row["diverged"]:
        logging.warning(
            "Chain %d had %d trajectories that diverged behind its burn-in, so a part "
            "of the posterior may be missing: begin anew with a smaller step size.",
            number,
            row["diverged"],
        )


def _diagnosed(network, folder, chains, num_results, images):
    """Returns the diagnostics of some weights, and of predictions for some images."""
    if num_results < 4:
        return {}
    sizes = [int(np.prod(v.shape)) for v in variables(network).values()]
    rng = np.random.default_rng(0)
    chosen = rng.choice(sum(sizes), min(_LOOKED_AT, sum(sizes)), replace=False)
    own = variables(network)
    weights, predictions = [], []
    for chain in range(chains):
        for draw in range(num_results):
            path = snapshots.path_of_draw(folder, chain, draw)
            arrays = read_arrays(path)
            row = np.concatenate([arrays[name].ravel() for name in own])
            weights.append(row[chosen])
            for name, variable in own.items():
                variable.assign(arrays[name])
            logits = network(images[:_IMAGES], training=False)
            predictions.append(keras.ops.softmax(logits).numpy().ravel())
    found = {}
    for name, rows in (("weights", weights), ("predictions", predictions)):
        draws = np.reshape(rows, (chains, num_results, -1))
        found[name] = diagnostics.summary(draws)
        worst = found[name].get("r_hat_max", 1.0)
        if name == "predictions" and worst > _MIXED:
            logging.warning(
                "The largest R-hat of predictions is %.3f, above %.1f: the chains do "
                "not agree yet. Ask for more --num_results, which go on from here.",
                worst,
                _MIXED,
            )
    return found
