"""Predictions for each pixel, as pictures beside the image and its labels."""

import numpy as np

from training.metrics.definitions import entropies
from training.metrics.pixels import by_image
from training.metrics.scores import accuracy
from training.report import figures
from training.report.confidence import Stored
from training.report.figures import Chart
from training.report.mistakes import Shown
from zoo.arrays import UNLABELED

_IMAGES = 4  # Of each model.


def charts(stored: Stored, base: str, images=None, count: int = _IMAGES) -> list[Chart]:
    """Draws images, their labels, predictions and entropies, from right to wrong.

    Args:
        stored: The predictions.
        base: Name of the data set.
        images: Data sets among which this one is looked for; see `page.html`.
        count: Images of each model: those with the best and the worst accuracy, and
            others between them.

    Returns:
        A chart for each image and model. Nothing where the images are not to be had, or
        not those of the predictions.
    """
    found, shown = [], Shown(stored, base, images)
    for model, label in stored.results.labels().items():
        pair, data = stored.get(model, base), shown.of(model)
        if pair is None or data is None:
            continue
        probs, labels = pair
        right = by_image({"accuracy": accuracy}, probs, labels)["accuracy"]
        order = np.argsort(-np.nan_to_num(right), kind="stable")
        places = np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)
        for index in order[places]:
            picture = np.asarray(data.images[index])
            title = f"{label}: image {index}, {right[index]:.1%} right"
            found.append(
                _draw(picture, labels[index], probs[index], data.classes, title)
            )
    return found


def colors(num_classes: int) -> np.ndarray:
    """Returns a color for each class, and white for what has none.

    Returns:
        uint8 array of shape `(num_classes + 1, 3)`, that of no class last.
    """
    from matplotlib import colormaps

    names = "tab10" if num_classes <= 10 else "tab20"
    table = colormaps[names].colors
    if num_classes > len(table):
        table = colormaps["hsv"](np.linspace(0, 1, num_classes, endpoint=False))
    chosen = np.array([color[:3] for color in table[:num_classes]])
    return np.rint(255 * np.vstack([chosen, [1, 1, 1]])).astype("uint8")


def _draw(picture, labels, probs, classes, title):
    from matplotlib import figure as figures_of
    from matplotlib import patches

    figure = figures_of.Figure(figsize=(9.2, 2.9), layout="constrained")
    axes, table = figure.subplots(1, 4), colors(len(classes))
    predicted = probs.argmax(axis=-1)
    # The last color is that of -1.
    panels = {
        "image": picture[..., 0] if picture.shape[-1] == 1 else picture,
        "labels": table[np.asarray(labels)],
        "prediction": table[predicted],
        "entropy (nats)": entropies(np, probs),
    }
    for axis, (name, values) in zip(axes, panels.items(), strict=True):
        limit = {"vmin": 0, "vmax": np.log(len(classes)) if "nats" in name else 255}
        drawn = axis.imshow(values, cmap="gray", interpolation="nearest", **limit)
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    figure.colorbar(drawn, ax=axes[-1], shrink=0.6)
    there = np.union1d(np.unique(labels), np.unique(predicted))
    there = there[there != UNLABELED]
    names = [patches.Patch(color=table[k] / 255, label=str(classes[k])) for k in there]
    figure.legend(
        handles=names, loc="outside lower center", ncols=6, frameon=False, fontsize=9
    )
    alt = f"Image, labels, prediction and entropy. {title}."
    return Chart(title, alt, figures.data_uri(figure), True)
