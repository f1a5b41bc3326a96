"""Rows as an evaluation gives them, and stored predictions, made up."""

import numpy as np

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
            for metric in ("auroc/entropy", "fpr95/entropy"):
                changes = {"metric": metric, "value": value - index / 50, **common}
                rows.append(row(model, **changes))
    return rows
