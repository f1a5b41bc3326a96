"""What a network loses when one of its blocks is passed by."""

from collections.abc import Mapping

import keras
import numpy as np
from absl import logging
from keras import ops

from layers.checks import check_count
from training.analysis import base, charts
from training.analysis.base import Finding
from training.analysis.network import Network, passes


def lesions(
    model: keras.Model,
    dataset,
    *,
    batch_size: int = 100,
    seed: int = 0,
    progress=None,
    num_samples: int = 5,
) -> Finding:
    """Returns accuracy and NLL with one block bypassed, for each block that can be.

    Of a residual block the branch gives zeros, so that its shortcut is left; a block
    without a shortcut, such as a smoothing, gives what it takes, if these are of one
    shape. Batch statistics stay those of the training.

    Args:
        model: Functional Keras model from images in `[0, 255]` to logits.
        dataset: A `training.data.ImageData`.
        batch_size: Images in a batch.
        seed: Seed of the passes.
        progress: A `training.progress.Progress`, or None.
        num_samples: Forward passes of a network that draws; others take one.

    Returns:
        Rows `accuracy` and `nll`, of the mean prediction: two of the whole network, and
        two for each block, with the `layer` that it ends with, its `depth`, `kinds`,
        the `bypass`, `"branch"` or `"identity"`, and the `change` from the whole
        network. The array `right` says which images are predicted right, of shape
        `(1 + blocks, images)`.

    Raises:
        ValueError: If model and data set do not fit together, there are fewer images
            than in a batch, or no block can be passed by.
        FloatingPointError: If a value is not finite.

    Reference:
        [Residual Networks Behave Like Ensembles of Relatively Shallow Networks](
        https://arxiv.org/abs/1605.06431) (Veit et al., 2016), section 4.1; and
        [How Do Vision Transformers Work?](https://arxiv.org/abs/2202.06709)
        (Park and Kim, 2022), section 4.
    """
    dataset, network = base.check(model, dataset, batch_size), Network(model)
    count = network.num_passes(check_count(num_samples, "num_samples"))
    ways, without = network.bypasses()
    if not ways:
        raise ValueError(
            f"No block of '{model.name}' can be passed by: none has a shortcut, or an "
            f"output of the shape of its input. Received: {', '.join(without)}"
        )
    if without:
        text = "No way around these blocks of '%s', which change the shape: %s"
        logging.info(text, model.name, ", ".join(without))

    def predictions(images, seed, offset, number, gates):
        with passes(seed, number, offset):
            logits, _ = network.values(images, [], gates, ways)
        return ops.softmax(logits, axis=-1)

    predict = network.compiled(predictions)
    gates = 1 - np.eye(1 + len(ways), len(ways), -1, dtype="float32")
    right, nats = [], []
    for index, images, labels in base.numbered(dataset, batch_size, progress):
        given = seed, index * batch_size
        for row in gates:
            found = [predict(images, *given, number, row) for number in range(count)]
            probs = np.mean([ops.convert_to_numpy(x) for x in found], 0, dtype=float)
            right.append(np.argmax(probs, axis=-1) == labels)
            own = np.take_along_axis(probs, labels[..., None], axis=-1)[..., 0]
            nats.append(-np.log(np.maximum(own, np.finfo("float32").tiny)))
    right, nats = (_by_lesion(x, len(gates)) for x in (right, nats))
    base.check_finite(nats, f"The NLL of '{model.name}'")
    facts = [{}] + [{**way.point.facts, "bypass": way.kind} for way in ways]
    values = {"accuracy": right.mean(axis=1), "nll": nats.mean(axis=1)}
    rows = [
        {"metric": metric, **own, "value": float(value)}
        | ({"change": float(value - found[0])} if own else {})
        for metric, found in values.items()
        for own, value in zip(facts, found, strict=True)
    ]
    return Finding(rows, {"right": right})


def _by_lesion(parts, num_lesions):
    """Returns the values of each lesion, of shape `(lesions, examples)`."""
    stacked = np.stack(parts)
    stacked = stacked.reshape(-1, num_lesions, *stacked.shape[1:])
    return np.moveaxis(stacked, 0, 1).reshape(stacked.shape[1], -1)


def plot_lesions(findings: Mapping[str, Finding]) -> dict:
    """Draws the accuracies of networks without one block; lines: of the whole ones.

    Args:
        findings: What `lesions` found, by the name of the model.

    Returns:
        Figures by their titles.
    """
    whole, parts = {}, {}
    for name, finding in findings.items():
        rows = [row for row in finding.rows if row["metric"] == "accuracy"]
        whole[name] = next(row["value"] for row in rows if "layer" not in row)
        parts[name] = Finding([row for row in rows if "layer" in row])
    label = "Accuracy without the block (%)"
    figure = charts.by_depth(parts, "accuracy", label, scale=100, levels=whole)
    return {"Accuracy with one block bypassed; lines: the whole network": figure}
