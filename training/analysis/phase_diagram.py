"""Phases of trainings by load and temperature, by what their losses look like."""

from collections.abc import Mapping

import keras
import numpy as np

from layers import checks
from training.analysis import base
from training.analysis.base import Finding
from training.analysis.hessian_spectrum import hessian
from training.analysis.kept import Kept
from training.analysis.mode_connectivity import connectivity
from training.analysis.representations import similarity
from training.sweeps import settings as sweep_settings
from zoo import finding, loading

# Settings that make updates noisier; what else a sweep has is the load.
TEMPERATURES = "batch_size", "learning_rate"
REGIONS = {
    "I": "sharp, poorly connected",
    "II": "flat, poorly connected",
    "III": "sharp, connected",
    "IV-A": "flat, connected, not alike",
    "IV-B": "flat, connected, alike",
}
_MEASURES = "sharpness", "connectivity", "similarity", "train_error", "accuracy"
_MIXUP = 16.0  # As Yang et al. compare outputs.


def phases(
    sweep,
    dataset,
    *,
    batch_size: int = 200,
    seed: int = 0,
    progress=None,
    folder=None,
    load: str | None = None,
    temperature: str | None = None,
    epochs: int = 10,
    learning_rate: float = 0.01,
    num_images: int = 2000,
    augmentations="none",
    weight_decay: float = 5e-4,
    flat_below: float | None = None,
    connected_above: float = -5.0,
    similar_above: float | None = None,
) -> Finding:
    """Measures a grid of trainings, and says which phase each of them is in.

    The load is how much a network has to learn, such as the number of images or the
    width; the temperature how noisy its updates are, such as the size of batches. Of
    each combination there are two seeds at least: sharpness is the largest eigenvalue
    of the Hessian of the NLL of a batch of training images as they are, a geometric
    mean over the seeds; connectivity that of the first two, on the training error;
    similarity the linear CKA of their probabilities on mixtures of images.

    Args:
        sweep: Folder of a `zoo-train --sweep` over load, temperature and `seed`.
        dataset: A `training.data.ImageData` of training images.
        batch_size: Images of a Hessian, of a step of a curve, and of a batch for CKA.
        seed: Seed of everything random.
        progress: A `training.progress.Progress`; None for none.
        folder: Where each combination is kept as soon as it is there; None for nowhere.
        load: Which setting of the sweep is the load; None for that which is not the
            temperature.
        temperature: Which one is the temperature; None for that of `TEMPERATURES`.
        epochs: Of the curves, as `connectivity` takes them.
        learning_rate: Likewise.
        num_images: Likewise, and for similarity.
        augmentations: Likewise.
        weight_decay: Likewise.
        flat_below: The largest sharpness that is flat; None for the geometric mean of
            the smallest and the largest of the grid.
        connected_above: The smallest mode connectivity, in percentage points, at which
            two trainings are connected.
        similar_above: The smallest CKA at which two are alike; None for the middle of
            the smallest and the largest of the grid.

    Returns:
        Rows of each combination, with its `load` and `temperature`: `sharpness`,
        `connectivity`, `similarity`, `train_error`, the test `accuracy`, and `region`
        with its `name`, a key of `REGIONS`, and the three limits. Arrays of the
        measures of shape `(loads, temperatures)`, NaN where a training diverged, and
        `region`, the place in `REGIONS` or -1; `loads` and `temperatures`, texts.

    Raises:
        ValueError: If the sweep has no two settings besides the seed, or more of them,
            or one training where two seeds are needed.
        FileNotFoundError: If it is the folder of no sweep.

    Reference:
        [Taxonomizing Local versus Global Structure in Neural Network Loss Landscapes](
        https://arxiv.org/abs/2107.11228) (Yang et al., 2021).
    """
    rows = sweep_settings.read(sweep)
    load, temperature = _axes(rows, load, temperature)
    cells = _cells(rows, load, temperature)
    found = {}
    settings = {
        "batch_size": batch_size,
        "seed": seed,
        "curve": {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "augmentations": augmentations,
            "weight_decay": weight_decay,
        },
        "num_images": num_images,
    }
    kept = Kept(
        *(folder, (), dataset),
        trainings=[row["folder"] for row in rows],
        **{"load": load, "temperature": temperature, **settings},
    )
    whole = base.counted(cells.items(), len(cells), progress)
    for number, (place, trainings) in enumerate(whole):
        name, own = f"cell_{number:04d}", (sweep, trainings, dataset)
        arrays = kept(name, _measured, *own, **settings).arrays
        found[place] = {name: float(value) for name, value in arrays.items()}
    loads, temperatures = (_order(cells, axis) for axis in (0, 1))
    grids = {
        name: np.array(
            [
                [found.get((x, y), {}).get(name, np.nan) for y in temperatures]
                for x in loads
            ]
        )
        for name in _MEASURES
    }
    limits = _limits(grids, flat_below, connected_above, similar_above)
    region = regions(*(grids[name] for name in _MEASURES[:3]), **limits)
    facts = {
        "load_setting": load,
        "temperature_setting": temperature,
        **limits,
        **settings["curve"],
        "images": base.num_batches(dataset.sample(num_images), batch_size) * batch_size,
    }
    names = [*REGIONS]
    result = []
    for i, x in enumerate(loads):
        for j, y in enumerate(temperatures):
            own = {"load": x, "temperature": y, **facts}
            result += [
                {"metric": name, "value": float(grid[i, j]), **own}
                for name, grid in grids.items()
                if np.isfinite(grid[i, j])
            ]
            number = int(region[i, j])
            name = names[number] if number >= 0 else "diverged"
            result.append({"metric": "region", "value": number, "name": name, **own})
    texts = {
        key: np.array([str(value) for value in values])
        for key, values in (("loads", loads), ("temperatures", temperatures))
    }
    settings_of = np.array([load, temperature])
    arrays = {**grids, "region": region, **texts, "settings": settings_of}
    return Finding(result, arrays)


def regions(
    sharpness,
    connectivity,
    similarity,
    *,
    flat_below: float,
    connected_above: float,
    similar_above: float,
) -> np.ndarray:
    """Returns the phases of trainings, as places in `REGIONS`.

    Args:
        sharpness: Largest eigenvalues, an array.
        connectivity: Mode connectivity, of that shape.
        similarity: CKA, of that shape.
        flat_below: See `phases`.
        connected_above: See `phases`.
        similar_above: See `phases`.

    Returns:
        int64 array of that shape; -1 where a value is NaN.

    Example:

    >>> limits = {"flat_below": 10, "connected_above": -5, "similar_above": 0.9}
    >>> regions([99, 9, 99, 9, 9], [-50, -50, 0, 0, 0], [0, 0, 0, 0.5, 1], **limits)
    array([0, 1, 2, 3, 4])
    """
    sharpness, connectivity, similarity = (
        np.asarray(x, "float64") for x in (sharpness, connectivity, similarity)
    )
    flat, alike = sharpness <= flat_below, similarity >= similar_above
    connected = connectivity >= connected_above
    found = np.where(connected, np.where(flat, 3 + alike, 2), np.where(flat, 1, 0))
    known = np.isfinite(sharpness + connectivity + similarity)
    return np.where(known, found, -1)


def _axes(rows, load, temperature):
    """Returns the names of the settings that are load and temperature."""
    known = [
        name
        for name in rows[0]
        if name not in ("folder", "state", "error", "settings", "seed")
        and name in (load, temperature, *_swept(rows))
    ]
    temperature = temperature or next((n for n in TEMPERATURES if n in known), None)
    load = load or next((name for name in known if name != temperature), None)
    names = {load, temperature}
    if None in names or len(names) < 2 or not names <= set(known):
        raise ValueError(
            "A phase diagram is of two settings of a sweep, its load and its "
            f"temperature, such as {' or '.join(TEMPERATURES)}. Received: "
            f"load={load}, temperature={temperature}, of a sweep over "
            f"{', '.join(known) or 'nothing'}"
        )
    return load, temperature


def _swept(rows):
    """Returns the settings of a sweep, those before its results."""
    names = list(rows[0])
    return names[1 : names.index("state")]


def _cells(rows, load, temperature):
    """Returns the trainings of each combination."""
    cells = {}
    _check_settings(rows, load, temperature)
    for row in rows:
        place = tuple(_text(row[name]) for name in (load, temperature))
        cells.setdefault(place, []).append(row)
    for place, trainings in cells.items():
        if len(trainings) < 2:
            raise ValueError(
                "A phase diagram takes two seeds of each combination at least, such as "
                f"`--sweep=seed=0,1`. Received: one training of {load}={place[0]}, "
                f"{temperature}={place[1]}"
            )
    return cells


def _check_settings(rows, load, temperature):
    """Checks that trainings of one combination differ in their seeds alone."""
    for row in rows:
        if missing := [name for name in (load, temperature) if name not in row]:
            raise ValueError(
                "All trainings of a folder must be of one sweep. Received: "
                f"'{row['folder']}', without a value of {missing[0]}"
            )
    for name in _swept(rows):
        values = {_text(row.get(name)) for row in rows}
        if name not in (load, temperature, "seed") and len(values) > 1:
            raise ValueError(
                f"A phase diagram is of two settings, here {load} and {temperature}, "
                f"and this sweep has others. Received: values of {name}: "
                f"{', '.join(sorted(map(str, values)))}"
            )


def _text(value):
    return value if isinstance(value, (str, int, float)) else str(value)


def _order(cells, axis):
    values = list(dict.fromkeys(place[axis] for place in cells))
    is_number = all(isinstance(value, (int, float)) for value in values)
    return sorted(values) if is_number else values


def _measured(sweep, trainings, dataset, batch_size, seed, curve, num_images):
    """Returns the measures of a combination; none where a training diverged."""
    if any(row["state"] != "trained" for row in trainings):
        return Finding([], {})
    models = []
    for row in trainings:
        path = f"{sweep}/{row['folder']}"
        models.append(
            loading.load_found(finding.find(finding.read(path).preset.name, path))
        )
    common = {"batch_size": batch_size, "seed": seed}
    tops = [
        hessian(
            model,
            dataset,
            augmentations="none",
            weight_decay=0.0,
            num_batches=1,
            count=1,
            probes=0,
            steps=0,
            **common,
        ).values("eigenvalue")[0]
        for model in models
    ]
    pair = models[:2]
    along = connectivity(*pair, dataset, num_images=num_images, **curve, **common)
    path = "curve" if curve["epochs"] else "line"
    sample = dataset.sample(num_images)
    alike = similarity(*pair, sample, mixup=_MIXUP, **common)
    outputs = alike.values("cka", layer="probs", of_layer="probs")
    ends = along.arrays[f"{path}/error"][[0, -1]]
    accuracies = [row["test_accuracy"] for row in trainings if "test_accuracy" in row]
    keras.backend.clear_session()
    found = {
        "sharpness": np.exp(np.mean(np.log(np.abs(tops)))),
        "connectivity": along.values("mode_connectivity", path=path)[0],
        "similarity": outputs[0],
        "train_error": ends.mean(),
        "accuracy": np.mean(accuracies) if accuracies else np.nan,
    }
    return Finding([], {name: np.float64(value) for name, value in found.items()})


def _limits(grids: Mapping, flat_below, connected_above, similar_above) -> dict:
    if flat_below is None:
        known = grids["sharpness"][np.isfinite(grids["sharpness"])]
        flat_below = np.sqrt(known.min() * known.max()) if len(known) else 1.0
    if similar_above is None:
        known = grids["similarity"][np.isfinite(grids["similarity"])]
        similar_above = (known.min() + known.max()) / 2 if len(known) else 1.0
    checks.check_positive(float(flat_below), "flat_below")
    return {
        "flat_below": float(flat_below),
        "connected_above": float(connected_above),
        "similar_above": float(similar_above),
    }
