"""How alike two networks are: in features, predictions and weights."""

from collections.abc import Mapping

import keras
import numpy as np
from absl import logging
from keras import ops

from layers.checks import is_number
from training.analysis import base, charts
from training.analysis.base import Finding
from training.analysis.network import Network, passes

# Images of a batch from which the unbiased estimate is one.
SMALLEST_BATCH = 4


def similarity(
    first: keras.Model,
    second: keras.Model,
    dataset,
    *,
    batch_size: int = 100,
    seed: int = 0,
    progress=None,
    mixup: float = 0.0,
) -> Finding:
    """Returns how alike two networks are.

    Linear CKA compares what the blocks of the networks make of the same images: 1 is
    equal but for a rotation, a scale and a shift, 0 is uncorrelated. Both estimates are
    of batches: the sums of all batches are divided, so that images need not be in
    memory together. `cka` is the plain one, which is too large where a batch has fewer
    images than a map has numbers; `cka_unbiased` is not, and may leave [0, 1] by a
    little.

    Args:
        first: Functional Keras model from images in `[0, 255]` to logits.
        second: Another one, with the same classes; it may have another architecture.
        dataset: A `training.data.ImageData`.
        batch_size: Images in a batch, 4 at least. With all images in one batch the
            estimates are those of the whole set.
        seed: Seed of the passes, one of each image, and of the mixtures.
        progress: A `training.progress.Progress`, or None.
        mixup: With a positive number, the networks are compared on mixtures of two
            images of a batch, of weights from Beta(mixup, mixup), as Yang et al. (2021)
            do with 16. Accuracy and agreement are of the mixtures then, with the labels
            of the larger part.

    Returns:
        Rows `cka` and `cka_unbiased` for each pair of blocks, with `layer` and `depth`
        of the first network and `of_layer` and `of_depth` of the second: feature maps,
        then vectors, and last the probabilities, `"probs"`. Rows `agreement`, the share
        of images of one prediction, and `accuracy`, with the model it is `of`, 1 or 2.
        Where all weights have the same shapes, `weight_distance`, the Euclidean
        distance, `relative_weight_distance`, over the mean of the two norms, and
        `weight_cosine`, the cosine of the angle. The arrays `cka` and `cka_unbiased`
        are of shape `(blocks, blocks)`.

    Raises:
        ValueError: If models and data set do not fit together, or there are fewer
            images than in a batch, or fewer than 4 of a batch.
        FloatingPointError: If a value is not finite.

    Reference:
        [Similarity of Neural Network Representations Revisited](
        https://arxiv.org/abs/1905.00414) (Kornblith et al., 2019), section 3;
        [Do Wide and Deep Networks Learn the Same Things?](
        https://arxiv.org/abs/2010.15327) (Nguyen et al., 2021), equations 2 and 3; and
        [Taxonomizing local versus global structure in neural network loss landscapes](
        https://arxiv.org/abs/2107.11228) (Yang et al., 2021).
    """
    models = first, second
    sets = [base.check(model, dataset, batch_size) for model in models]
    _check(sets, batch_size, mixup)
    networks = [Network(model) for model in models]
    looks = [network.compiled(_look(network)) for network in networks]
    sums, right, agreed = {name: [] for name in CENTERS}, [], []
    total = base.num_batches(dataset, batch_size)
    pairs = zip(*(base.batches(own, batch_size) for own in sets), strict=True)
    for index, pair in base.counted(enumerate(pairs), total, progress):
        grams, predicted = [], []
        for look, given in zip(looks, pair, strict=True):
            images, labels = _mixed(*given, mixup, (seed, index))
            *found, predictions = look(images, seed, index * batch_size, 0)
            what = f"What '{first.name}' and '{second.name}' compute"
            grams.append([base.check_finite(gram, what) for gram in found])
            predicted.append(ops.convert_to_numpy(predictions))
        right.append([np.mean(found == labels) for found in predicted])
        agreed.append(np.mean(predicted[0] == predicted[1]))
        for name, center in CENTERS.items():
            sums[name].append(_products(*grams, center))
    arrays = {name: _ratio(parts) for name, parts in sums.items()}
    names = [_places(network) for network in networks]
    rows = [
        {
            **{"metric": metric, "layer": layer, "depth": depth},
            **{"of_layer": of_layer, "of_depth": of_depth},
            "value": float(arrays[metric][depth, of_depth]),
        }
        for metric in CENTERS
        for depth, layer in enumerate(names[0])
        for of_depth, of_layer in enumerate(names[1])
    ]
    rows.append({"metric": "agreement", "value": float(np.mean(agreed))})
    for number, value in enumerate(np.mean(right, axis=0).tolist(), 1):
        rows.append({"metric": "accuracy", "of": number, "value": value})
    return Finding([*rows, *_distances(first, second)], arrays)


def _check(sets, batch_size, mixup):
    if batch_size < SMALLEST_BATCH:
        raise ValueError(
            f"CKA is of batches of {SMALLEST_BATCH} images at least. Received: "
            f"batch_size={batch_size}"
        )
    if not (is_number(mixup) and 0 <= mixup < float("inf")):
        raise ValueError(f"`mixup` is 0 for none, or positive. Received: mixup={mixup}")
    classes = [tuple(own.classes) for own in sets]
    if classes[0] != classes[1]:
        number = next(
            (
                i
                for i, pair in enumerate(zip(*classes, strict=False))
                if len({*pair}) > 1
            ),
            min(map(len, classes)),
        )
        raise ValueError(
            "Two models that are compared number their classes alike. Received: "
            f"{len(classes[0])} and {len(classes[1])} classes that differ at number "
            f"{number}"
        )


def _places(network):
    """Returns the names of what is compared of a network."""
    return [*(point.layer for point in network.points), "probs"]


def _look(network):
    """Returns a function from images to the Gram matrices of blocks, and classes."""

    def look(images, seed, offset, number):
        with passes(seed, number, offset):
            logits, maps = network.values(images, network.points)
        grams = [gram(x) for x in (*maps, ops.softmax(logits, axis=-1))]
        return [*grams, ops.argmax(logits, axis=-1)]

    return look


def gram(features):
    """Returns the inner products of features, which are centered.

    Args:
        features: Tensor of shape `(batch, ...)`.

    Returns:
        Tensor of shape `(batch, batch)`.
    """
    rows = ops.reshape(features, (features.shape[0], -1))
    rows = rows - ops.mean(rows, axis=0)
    return ops.matmul(rows, ops.transpose(rows))


def centered(gram: np.ndarray) -> np.ndarray:
    """Returns a Gram matrix whose rows and columns sum to zero."""
    rows = gram.mean(axis=0, keepdims=True)
    return gram - rows - gram.mean(axis=1, keepdims=True) + gram.mean()


def unbiased(gram: np.ndarray) -> np.ndarray:
    """Returns a matrix whose inner products are those of HSIC without bias.

    Its diagonal is zero, and so are the sums of its rows and columns; divided by
    `n (n - 3)`, the inner product of two is the estimate of Song et al. (2012),
    https://www.jmlr.org/papers/v13/song12a.html, equation 5.

    Args:
        gram: float64 array of shape `(n, n)`, symmetric.
    """
    count = len(gram)
    gram = gram - np.diag(np.diag(gram))
    rows = gram.sum(axis=0) / (count - 2)
    whole = gram.sum() / ((count - 1) * (count - 2))
    found = gram - rows[:, None] - rows[None, :] + whole
    return found - np.diag(np.diag(found))


# By the name of the metric, what makes inner products of Gram matrices comparable.
CENTERS = {"cka": centered, "cka_unbiased": unbiased}


def _products(first, second, center):
    """Returns inner products of the blocks of two networks, and of each with itself."""
    ours, theirs = (
        np.stack([center(gram.astype("float64")).ravel() for gram in grams])
        for grams in (first, second)
    )
    return ours @ theirs.T, (ours**2).sum(axis=1), (theirs**2).sum(axis=1)


def _ratio(parts):
    """Returns CKA from the products of batches; NaN where features are constant."""
    crossed, ours, theirs = (np.sum(x, axis=0) for x in zip(*parts, strict=True))
    norms = np.sqrt(np.outer(ours, theirs))
    return np.divide(crossed, norms, out=np.full_like(crossed, np.nan), where=norms > 0)


def _mixed(images, labels, alpha, seed):
    """Returns mixtures of pairs of images, with the labels of the larger parts."""
    if not alpha:
        return images, labels
    rng = np.random.default_rng(seed)
    others, parts = rng.permutation(len(images)), rng.beta(alpha, alpha, len(images))
    own = parts.astype("float32")[:, None, None, None]
    is_own = (parts >= 0.5).reshape(-1, *[1] * (labels.ndim - 1))
    mixed = own * images + (1 - own) * images[others]
    return mixed, np.where(is_own, labels, labels[others])


def _distances(first, second):
    """Returns rows of the distance of the weights, if these have the same shapes."""
    pair = [
        [ops.convert_to_numpy(w).astype("float64") for w in model.trainable_weights]
        for model in (first, second)
    ]
    if [w.shape for w in pair[0]] != [w.shape for w in pair[1]]:
        logging.info(
            "'%s' and '%s' have weights of other shapes, and so no distance of these.",
            *(first.name, second.name),
        )
        return []

    def product(a, b):
        return sum(float(np.vdot(x, y)) for x, y in zip(a, b, strict=True))

    norms = [product(own, own) ** 0.5 for own in pair]
    moved = [x - y for x, y in zip(*pair, strict=True)]
    distance, mean = product(moved, moved) ** 0.5, sum(norms) / 2
    found = {"weight_distance": distance}
    if min(norms) > 0:
        found["relative_weight_distance"] = distance / mean
        found["weight_cosine"] = product(*pair) / (norms[0] * norms[1])
    return [{"metric": name, "value": value} for name, value in found.items()]


def plot_similarity(findings: Mapping[str, Finding]) -> dict:
    """Draws the similarity of the blocks of two networks, a panel for each pair.

    Args:
        findings: What `similarity` found, by the names of the pairs.

    Returns:
        Figures by their titles.
    """
    figure, axes = charts.panels(list(findings), height=4.2, share=False)
    for axis, (name, finding) in zip(axes, findings.items(), strict=True):
        rows = [row for row in finding.rows if row["metric"] == "cka_unbiased"]
        ours = dict.fromkeys(row["layer"] for row in rows)
        theirs = dict.fromkeys(row["of_layer"] for row in rows)
        values = finding.arrays["cka_unbiased"]
        image = axis.imshow(values, origin="lower", vmin=0, vmax=1, cmap="magma")
        names = [[charts.short(layer) for layer in side] for side in (theirs, ours)]
        axis.set_xticks(range(len(theirs)), names[0], rotation=90, fontsize=6)
        axis.set_yticks(range(len(ours)), names[1], fontsize=6)
        first, _, second = name.partition(" and ")
        axis.set_xlabel(second or "second")
        axis.set_ylabel(first)
        figure.colorbar(image, ax=axis, shrink=0.8)
    return {"Similarity of blocks (linear CKA, unbiased)": figure}
