r"""Temporal smoothing (VQ-BNN) beside one pass and 30 passes, on the drives of CamVid.

    python -m benchmarks.temporal --model=unet_mcdo50 --data_dir=path/to/CamVid \
        --weights=runs/unet_mcdo50.camvid --plain_weights=runs/unet.camvid

Four forms of a network:

    DNN      one pass without dropout
    BNN      the mean of 30 passes with dropout
    VQ-DNN   the weighted mean of one pass each of the last frames, without dropout
    VQ-BNN   the same with dropout

are measured on the clean frames, and on frames with flicker, noise and fog that change
from frame to frame: a gain of exp(N(0, 0.4^2)), and Gaussian noise and fog of
`training.corruptions` whose severity is drawn for each frame, from 0 (none) to 5. Means
begin anew with each drive, which the names of the files tell. Figures are of all
labeled pixels. With several `--rates` there is a row of VQ for each.

DNN and VQ-DNN have the weights of `--plain_weights`, a training without dropout, or in
their absence those of `--weights`; without weights, all are untrained, to try it out.
Choices between rates are made on `--split=validation`, whose drive is in the training
set too.

Then follow frames a second, one by one, of all forms side by side, and of a loop of 30
single passes, which share no prefix: medians over rounds, and ratios of a round's
times. In the third column and in brackets is the same for processor time, which other
programs disturb less. `--tflite` adds those of an exported stream, on one thread.
"""

import argparse
import dataclasses
import itertools
import pathlib
import tempfile
import warnings

import numpy as np

from benchmarks import rounds
from benchmarks.rows import Rows

CONDITIONS = "clean", "flicker", "noise", "fog"
METRICS = "nll", "accuracy", "ece", "mean_iou"
_CORRUPTIONS = {"noise": "gaussian_noise", "fog": "fog"}
_SETTINGS = "model", "weights", "plain_weights", "dataset", "split"  # Of a row.
_FLICKER = 0.4  # Standard deviation of the logarithm of the gain.


def changed(frames: np.ndarray, condition: str, seed: int = 0) -> np.ndarray:
    """Returns frames under a condition that changes from frame to frame.

    Args:
        frames: uint8 array of shape `(frames, height, width, channels)`.
        condition: One of `CONDITIONS`.
        seed: Seed of all that is drawn.
    """
    from training.corruptions.single import corrupt

    if condition == "clean":
        return frames
    rng = np.random.default_rng((seed, CONDITIONS.index(condition)))
    if condition == "flicker":
        gains = np.exp(_FLICKER * rng.standard_normal((len(frames), 1, 1, 1)))
        return np.rint(np.clip(frames * gains, 0, 255)).astype("uint8")
    severities = rng.integers(0, 6, len(frames))
    name = _CORRUPTIONS[condition]
    return np.stack(
        [
            corrupt(frame, name, int(severity), seed, index) if severity else frame
            for index, (frame, severity) in enumerate(
                zip(frames, severities, strict=True)
            )
        ]
    )


def drives(names: list[str]) -> list[range]:
    """Returns the numbers of the frames of each drive, from the names of the files."""
    from training.video.sources import sequence_of

    found, start = [], 0
    for _, group in itertools.groupby(names, sequence_of):
        end = start + len(list(group))
        found.append(range(start, end))
        start = end
    return found


def forms(plain, model, passes: int, rates) -> dict:
    """Returns the posteriors of all forms by name."""
    from zoo.posterior import MonteCarlo, Temporal

    found = {
        "DNN": MonteCarlo(plain, 1),
        f"BNN, {passes} passes": MonteCarlo(model, passes),
    }
    for kind, network in (("VQ-DNN", plain), ("VQ-BNN", model)):
        for rate in rates:
            name = kind if len(rates) == 1 else f"{kind}, rate {rate:g}"
            found[name] = Temporal(network, rate)
    return found


def predicted(posterior, frames, seed: int, batch: int) -> np.ndarray:
    """Returns the mean probabilities of all pixels of the frames of a drive."""
    size = batch if posterior.num_samples == 1 else 1
    found = []
    for samples in posterior.sampled(frames, size, seed):
        powers = np.exp(samples - samples.max(axis=-1, keepdims=True))
        found.append((powers / powers.sum(axis=-1, keepdims=True)).mean(axis=0))
    return np.concatenate(found)


def measured(posterior, dataset, condition: str, batch: int = 8) -> dict:
    """Returns the metrics of a form under a condition."""
    from training import metrics

    probs = None
    for number, drive in enumerate(drives(names_of(dataset))):
        frames = changed(dataset.images[drive.start : drive.stop], condition, number)
        own = predicted(posterior, frames, number, batch)
        if probs is None:  # All of them once in memory.
            probs = np.empty((len(dataset.images), *own.shape[1:]), "float32")
        probs[drive.start : drive.stop] = own
    chosen = {name: metrics.SEGMENTATION[name] for name in METRICS}
    return metrics.compute(chosen, probs, dataset.labels)


def names_of(dataset) -> list[str]:
    """Returns the names of the files of a data set, without suffixes."""
    return [path.stem for path in dataset.images.paths]


def limited(dataset, limit: int | None):
    """Returns the first frames of each drive of a data set, `limit` of all."""
    if limit is None:
        return dataset
    parts = drives(names_of(dataset))
    each = max(limit // len(parts), 1)
    chosen = [number for part in parts for number in part[:each]]
    images = type(dataset.images)(
        [dataset.images.paths[number] for number in chosen], dataset.images.shape[1:3]
    )
    return dataclasses.replace(dataset, images=images, labels=dataset.labels[chosen])


def load(name, weights, image_shape, classes):
    """Returns the network with weights, or an untrained one."""
    import zoo

    if not weights:
        return zoo.build(name, image_shape, len(classes))
    with warnings.catch_warnings():  # That the plain one has weights of the other.
        warnings.simplefilter("ignore", UserWarning)
        return zoo.load(name, image_shape, weights=weights)


def plain_of(name: str) -> str:
    """Returns the name of a network without dropout."""
    import zoo

    spec = zoo.parse(name)
    kept = tuple(m for m in spec.methods if not m.startswith("mcdo"))
    return str(dataclasses.replace(spec, methods=kept))


def steps_of(posteriors, model, frame, passes: int) -> dict:
    """Returns a function of one frame for each form, and of a loop of passes."""
    from zoo.posterior import MonteCarlo

    def call(posterior):
        return lambda: np.asarray(posterior(frame[None], seed=0))

    def stream(posterior):
        state = posterior.initial_state()

        def step():
            nonlocal state
            probs, state = posterior.step(frame, state)
            return np.asarray(probs)

        return step

    one = MonteCarlo(model, 1)

    def loop():
        for seed in range(passes):
            np.asarray(one(frame[None], seed=seed))

    made = {
        name: (stream if hasattr(posterior, "step") else call)(posterior)
        for name, posterior in posteriors.items()
    }
    return {**made, f"a loop of {passes} passes": loop}


def lite_step(posterior, frame):
    """Returns a function of one frame of the exported stream, on one thread."""
    from training import export
    from training.runtimes import streams

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "stream.tflite")
        report = export.export_stream("tflite", posterior, path)
        print(
            f"LiteRT: {report['bytes'] / 1e6:.1f} MB, probabilities differ by "
            f"{report['max_difference']:.1e} at most"
        )
        opened = streams.open_stream(path, num_threads=1)
    state = opened.initial_state()

    def step():
        nonlocal state
        probs, state = opened.step(frame, state)
        return probs

    return step


def speeds(steps: dict, count: int, seconds: float, base: str):
    """Prints frames a second, and how many times those of the base are as many."""
    times = rounds.measure(
        {name: rounds.local(step) for name, step in steps.items()}, count, seconds
    )
    print("\n| form | frames/s | frames/s of a core | VQ-BNN has times as many |")
    print("|---|---|---|---|")
    for name, found in times.items():
        wall, used = rounds.ratio(times, base, name)
        rate, of_core = 1 / np.median(found, axis=0)
        print(f"| {name} | {rate:.3g} | {of_core:.3g} | {wall:.3g} ({used:.3g}) |")


def print_metrics(posteriors, dataset, given):
    """Prints the metrics of all forms, and measures those that have no row yet."""
    print("| frames | form | NLL | accuracy (%) | ECE (%) | mean IoU (%) |")
    print("|---|---|---|---|---|---|")
    rows = Rows(given.output)
    of = {name: getattr(given, name) for name in _SETTINGS}
    of["count"] = len(dataset.images)
    for condition, (name, posterior) in itertools.product(
        given.conditions, posteriors.items()
    ):
        rate = getattr(posterior, "rate", None)  # One alone is not in the name.
        key = {"frames": condition, "form": name, "rate": rate, **of}
        found = rows.find(**key)
        if found is None:
            found = key | measured(posterior, dataset, condition, given.batch)
            rows.add(found)
        nll, *others = (found[metric] for metric in METRICS)
        cells = " | ".join(f"{100 * value:.2f}" for value in others)
        print(f"| {condition} | {name} | {nll:.4f} | {cells} |", flush=True)


def main(arguments=None):
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="unet_mcdo50")
    parser.add_argument("--weights")
    parser.add_argument("--plain_weights")
    parser.add_argument("--dataset", default="camvid")
    parser.add_argument("--data_dir")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="frames of all drives together")
    parser.add_argument("--conditions", nargs="*", default=list(CONDITIONS))
    parser.add_argument("--rates", nargs="+", type=float, default=[0.8])
    parser.add_argument("--passes", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7, help="0 measures no speed")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--tflite", action="store_true")
    rows = {"type": pathlib.Path, "help": "file of rows, .jsonl, to go on with"}
    parser.add_argument("--output", **rows)
    given = parser.parse_args(arguments)
    from training import data

    dataset = data.load(given.dataset, given.split, given.data_dir)
    dataset = limited(dataset, given.limit)
    shape, classes = dataset.images.shape[1:], dataset.classes
    model = load(given.model, given.weights, shape, classes)
    weights = given.plain_weights or given.weights
    plain = load(plain_of(given.model), weights, shape, classes)
    if not weights:
        for layer in plain.layers:
            if layer.weights:  # In place of dropout there is nothing.
                layer.set_weights(model.get_layer(layer.name).get_weights())
    posteriors = forms(plain, model, given.passes, given.rates)
    print_metrics(posteriors, dataset, given)
    if given.rounds:
        frame = dataset.images[0]
        first = forms(plain, model, given.passes, given.rates[:1])
        steps = steps_of(first, model, frame, given.passes)
        if given.tflite:
            steps["VQ-BNN, LiteRT on one thread"] = lite_step(first["VQ-BNN"], frame)
        speeds(steps, given.rounds, given.seconds, "VQ-BNN")


if __name__ == "__main__":
    main()
