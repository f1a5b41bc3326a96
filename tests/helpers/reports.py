"""Rows as an evaluation gives them, and stored predictions, made up."""

import json

import numpy as np

from training.evaluation import predictions

CORRUPTIONS = ("gaussian_noise", "defocus_blur", "fog", "jpeg_compression")
CLASSES = 10


def row(model="resnet20", num_samples=1, metric="nll", value=0.25, **changes):
    return {
        "model": model,
        "dataset": "fashion_mnist",
        "num_samples": num_samples,
        "metric": metric,
        "value": value,
        "num_examples": 10000,
        "seed": 0,
        "seconds": 1.5,
        **changes,
    }


def benchmark(models=("resnet20", "resnet20_mcdo"), corruptions=CORRUPTIONS):
    """Rows of a whole benchmark; the values follow from all of the names."""
    amounts = {f"fashion_mnist_c/{c}/{s}": s for c in corruptions for s in range(1, 6)}
    amounts |= {f"fashion_mnist_rotation/{angle}": angle / 45 for angle in (15, 30, 45)}
    amounts |= {f"fashion_mnist_translation/{n}": n / 2 for n in (2, 4)}
    rows = []
    for index, model in enumerate(models):
        for place, (dataset, amount) in enumerate(
            {"fashion_mnist": 0, **amounts}.items()
        ):
            for size in (1, 10):
                common = {"dataset": dataset, "num_samples": size, "model": model}
                hard = (place // 5 * 7 + index) % 11
                error = 0.06 + 0.012 * hard * amount + 0.01 * index
                error -= 0.002 * np.log(size)
                values = {
                    "accuracy": 1 - error,
                    "nll": 3 * error,
                    "brier": 1.6 * error,
                    "ece": error / 3,
                }
                rows += [row(metric=m, value=v, **common) for m, v in values.items()]
        for other, value in (("mnist", 0.9), ("digits", 0.8)):
            common = {"dataset": f"fashion_mnist vs {other}", "num_samples": 10}
            common |= {"seconds": 2.5}
            for metric in ("auroc/entropy", "fpr_95/entropy"):
                changes = {"metric": metric, "value": value - index / 50, **common}
                rows.append(row(model, **changes))
    return rows


def resized(rows, shift=0.0):
    """The rows of the same evaluation in another size, all values shifted."""
    changed = []
    for old in rows:
        first, versus, other = old["dataset"].partition(" vs ")
        name = f"{first}_size/64{versus}{other}"
        changed.append({**old, "dataset": name, "value": old["value"] + shift})
    return changed


def store(folder, model, dataset, probs, labels=None, sizes=(1, 10), **changes):
    """Writes predictions as `predictions.store` does; those of the sizes are equal.

    Args:
        folder: The root of all predictions.
        model: Name of the model.
        dataset: Name of the data set.
        probs: Array of shape `(examples, classes)`.
        labels: Labels of the examples; zeros by default.
        sizes: The ensemble sizes.
        **changes: Other values of `meta.json`.
    """
    count, classes = probs.shape
    place = predictions.folder_of(folder, model, dataset)
    place.mkdir(parents=True)
    labels = np.zeros(count, "int32") if labels is None else labels
    np.save(place / "labels.npy", np.asarray(labels, "int32"))
    np.save(place / "probs.npy", np.array([probs] * len(sizes), "float32"))
    for name in ("mutual_information", "energy", "max_logit"):
        np.save(place / f"{name}.npy", np.zeros((len(sizes), count), "float32"))
    meta = {"model": model, "dataset": dataset, "sizes": list(sizes), "seed": 0}
    meta |= {"count": count, "done": count, "num_classes": classes, "seconds": 1.0}
    (place / "meta.json").write_text(json.dumps(meta | changes))


def outcomes(count, temperature, seed=0, classes=CLASSES):
    """Returns probabilities and labels; above 1, a temperature makes overconfident."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.5, size=(count, classes))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probs.cumsum(axis=1) < rng.uniform(size=(count, 1))).sum(axis=1)
    sharp = probs**temperature
    return sharp / sharp.sum(axis=1, keepdims=True), np.minimum(labels, classes - 1)


def store_benchmark(folder, models, corruptions=CORRUPTIONS, count=500):
    """Writes the predictions of a benchmark: the worse the image, the more confident.

    Returns:
        The labels of the clean images.
    """
    for index, model in enumerate(models):
        probs, clean = outcomes(count, 1 + index / 10)
        store(folder, model, "fashion_mnist", probs, clean)
        for place, corruption in enumerate(corruptions):
            for severity in range(1, 6):
                made = outcomes(count, 1 + severity / 4, seed=place)
                store(folder, model, f"fashion_mnist_c/{corruption}/{severity}", *made)
        for seed, other in enumerate(("mnist", "digits"), 1):
            store(folder, model, other, outcomes(count, 0.3 * seed, seed)[0])
    return clean
