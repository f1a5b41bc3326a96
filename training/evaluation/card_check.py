"""Whether measured values are those of a model card."""

import math
from collections.abc import Iterable, Mapping, Sequence

from training import metrics
from training.data import image_data
from training.evaluation import TOLERANCE
from training.runtimes import places
from zoo.presets import index
from zoo.publishing import results
from zoo.registry import split_posterior
from zoo.storage import urls

# Rounding moves some examples over a bound, such as a confidence of 0.9. A share of
# fewer examples than these may change by as many of them: by three, at `TOLERANCE`.
_EXAMPLES = 1500
_SAME = ("dataset", "num_samples", "metric", "num_examples", "seed")
# What a metric is a share of, by the metrics of the same card.
_SHARES = {
    "accuracy": lambda card: 1.0,
    "freq_90": lambda card: 1.0,
    "acc_90": lambda card: card("freq_90"),
    "unc_90": lambda card: 1 - card("accuracy"),
}


def published(model: str, weights: str | None = None) -> tuple[Mapping, ...]:
    """Returns the results on the card of a model.

    Args:
        model: Its name.
        weights: A published folder in place of `presets.json`.

    Raises:
        ValueError: If there is no card with results.
    """
    of_model, posterior = split_posterior(model)
    if weights is not None:
        preset = index.read_published(weights)
    else:
        preset = index.read().get(of_model)
    rows = preset.results if preset else ()
    if preset and posterior:
        key = results.published_posterior(posterior, preset.posteriors)
        name = f"{preset.name}@{key}"
        rows = tuple(row for row in preset.of_posteriors if row["model"] == name)
    if not rows:
        known = ", ".join(n for n, p in index.read().items() if p.results)
        raise ValueError(
            f"There are no published results of '{model}' to compare with. Models that "
            f"have some: {known}."
        )
    return rows


def folders(
    names: Sequence[str], weights: Sequence[str | None] | None
) -> list[str | None]:
    """Returns where the cards of models are: folders, URLs, or None for the package.

    Args:
        names: Names of the models, or their URLs; exported files and models on
            servers have no card beside them.
        weights: A published folder or nothing for each of them.
    """
    weights = weights or [None] * len(names)
    return [
        folder or (name if urls.is_url(name) and not places.is_place(name) else None)
        for name, folder in zip(names, weights, strict=True)
    ]


def selection(cards: Iterable[tuple[str, str | None]], limit: int) -> str:
    """Returns how the cards of models selected `limit` images of a set.

    Args:
        cards: Names of models, with a published folder or None; see `published`.
        limit: The number of images of each set.

    Returns:
        `"first"` if all rows of `limit` images do not say how these were selected: they
        are the first ones; else `"stratified"`.
    """
    found = {
        image_data.STRATIFIED if row.get("selection") else "first"
        for card in cards
        for row in published(*card)
        if row["num_examples"] == limit * results.num_sets(row)
    }
    return found.pop() if len(found) == 1 else image_data.STRATIFIED


def _key(row):
    """Returns what rows have in common that can be compared."""
    images = row.get("selection", ""), row.get("excluded", 0)
    return *(row[key] for key in _SAME), *images, row.get("adapted_to", "")


def deviations(
    rows: Iterable[Mapping], card: Iterable[Mapping], tolerance: float = TOLERANCE
) -> list[str]:
    """Compares the rows of one model with its published results.

    Args:
        rows: Rows of an evaluation.
        card: Rows of a preset. Those of another data set, number of images, ensemble
            size, metric, seed or selection of images have no counterpart and are not
            compared; nor have those of what has adapted to other images.
        tolerance: Largest absolute difference that is accepted. For an accuracy, and
            for Acc-90, Unc-90 and Freq-90, which are shares of `m` examples, it is
            `tolerance * max(1, 1500 / m)`.

    Returns:
        One line for each value that deviates.

    Raises:
        ValueError: If nothing can be compared.
    """
    expected = {_key(row): row["value"] for row in card}
    lines, count = [], 0
    for row in rows:
        key = _key(row)
        if key not in expected:
            continue
        count += 1
        difference = abs(row["value"] - expected[key])
        bound = tolerance * _factor(row, expected)
        # NaN deviates too.
        if not difference <= bound:
            lines.append(
                f"{row['model']} on {row['dataset']}, {row['num_samples']} passes: "
                f"{row['metric']} is {row['value']:.6f}, published {expected[key]:.6f}"
                f" (off by {difference:.6f}, tolerance {bound:.4g})"
            )
    if not count:
        wanted = sorted(
            {
                f"{row['dataset']} with {row['num_examples']} images"
                for row in card
                if not results.is_part(row)  # Each of the corruptions would be a line.
            }
        )
        seeds = sorted({key[4] for key in expected})
        raise ValueError(
            "Nothing of this evaluation is on the model card: it has results on "
            f"{', '.join(wanted)}, seeds {seeds}, and ensemble sizes "
            f"{sorted({key[1] for key in expected})}."
        )
    return lines


def _factor(row, expected) -> float:
    """Returns by how much more a share of few examples may deviate than one of many."""

    def card(metric):
        return expected.get(_key(row | {"metric": metric}), 1)

    share = _SHARES.get(row["metric"])
    if share is None:
        return 1
    return max(1, _EXAMPLES / max(1, row["num_examples"] * share(card)))


def check(
    rows: Iterable[Mapping],
    weights: Mapping[str, str | None],
    tolerance: float = TOLERANCE,
    cards: Mapping[str, str] | None = None,
) -> list[str]:
    """Compares rows with the cards of several models.

    Args:
        rows: Rows of an evaluation. Means over sets are compared like those of the
            card.
        weights: A published folder, or None for `presets.json`, by the model's name.
        tolerance: The largest deviation of a value; shares of few examples may deviate
            more, as in `deviations`.
        cards: Names of the models that a card is of, by those in the rows; of others
            they are the same.

    Returns:
        One line for each value that deviates.
    """
    if not math.isfinite(tolerance) or tolerance < 0:
        raise ValueError(
            f"`tolerance` must not be negative. Received: tolerance={tolerance}"
        )
    rows, lines = list(rows), []
    for model, folder in weights.items():
        own = [row for row in rows if row["model"] == model]
        made = [{"model": model, **row} for row in results.means(own, metrics.CARD)]
        card = published((cards or {}).get(model, model), folder)
        lines += deviations(own + made, card, tolerance)
    return lines
