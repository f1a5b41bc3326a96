"""Charts of stored predictions: reliability, thresholds, entropies."""

import os
from collections.abc import Sequence

import numpy as np

from training import metrics, task
from training.evaluation import ood, predictions
from training.report import figures
from training.report.figures import Chart
from training.report.result_set import Results

_CONFIDENCE = "Confidence (largest mean probability)"
# Bins with a smaller share of the images are noise.
_FEW = 1 / 1000


class Stored:
    """The predictions of the largest ensembles of the models in the rows.

    Args:
        results: The values.
        folder: Folder of the predictions; see `training.evaluation.predictions`.
    """

    def __init__(self, results: Results, folder: str | os.PathLike):
        self.results = results
        self._folder = folder
        self._known = {model: set() for model in results.models}
        for row in results.rows:
            name = row["dataset"]
            data = results.datasets[name]
            is_pair = data.kind == "detection"
            self._known[row["model"]].add(data.change if is_pair else name)

    def get(self, model: str, dataset: str):
        """Returns probabilities and labels, or None where there are none.

        What another evaluation has begun in the same folder is not looked at: of a data
        set, or of a pair with it, the model must have rows.
        """
        found = self._stored(model, dataset)
        if found is None:
            return None
        stored, size = found
        return stored.probs[stored.index(size)], stored.labels

    def ranked(self, model: str, dataset: str):
        """Returns probabilities, labels and scores, or None where there are none.

        The scores are those that the model itself ranks by, and None if that was not
        evaluated.
        """
        found = self._stored(model, dataset)
        if found is None:
            return None
        stored, size = found
        by = self.results.ranks_by.get(model)
        scores = ood.scores(stored, size)[by] if by else None
        return stored.probs[stored.index(size)], stored.labels, scores

    def task(self, dataset: str) -> task.Task:
        """Returns the task of the predictions of a data set."""
        found = (self._stored(model, dataset) for model in self.results.models)
        stored = next(filter(None, found), None)
        return task.of_predictions(stored[0].meta if stored else {})

    def meta(self, model: str, dataset: str) -> dict:
        """Returns what predictions that `get` finds are of."""
        return self._load(model, dataset).meta

    def _stored(self, model, dataset):
        """Returns predictions and the ensemble size to look at, if there are any."""
        if dataset not in self._known[model]:
            return None
        stored = self._load(model, dataset)
        if stored is None:
            return None
        sizes, size = stored.meta["sizes"], self.results.size(model)
        return stored, size if size in sizes else sizes[-1]

    def _load(self, model, dataset):
        folder = predictions.folder_of(self._folder, model, dataset)
        return predictions.load(folder) if (folder / "meta.json").exists() else None

    def all(self, model: str, datasets: Sequence[str]):
        """Yields the predictions there are of several data sets, one by one."""
        yield from filter(None, (self.get(model, name) for name in datasets))


def reliability(stored: Stored, base: str) -> list[Chart]:
    """Draws the accuracy against the confidence, a chart for each model.

    Lines are the clean images, and those of all corruptions at a severity.

    Args:
        stored: The predictions.
        base: Name of the clean data set.
    """
    charts = []
    for model, label in stored.results.labels().items():
        lines = {}
        for name, datasets in _groups(stored.results, base).items():
            found = [metrics.reliability(*p) for p in stored.all(model, datasets)]
            if found:
                lines[name] = _pool(found)
        if lines:
            charts.append(_draw_reliability(lines, label, base))
    return charts


def _groups(results, base):
    """Returns the clean set, and the sets of the least, middle and worst severity."""
    sets = results.corrupted(base)
    severities = sorted({int(data.amount) for data in sets})
    shown = severities[:: max(len(severities) // 2, 1)]
    corrupted = {
        f"severity {s}": [str(data) for data in sets if data.amount == s] for s in shown
    }
    return {"clean": [base], **corrupted}


def _pool(parts):
    """Returns the counts, confidences and accuracies of bins over several data sets."""
    counts = np.array([part.count for part in parts])
    total = counts.sum(axis=0)
    weights = counts / np.where(total > 0, total, 1)
    means = [
        np.where(total > 0, np.sum(weights * np.nan_to_num(values), axis=0), np.nan)
        for values in ([p.confidence for p in parts], [p.accuracy for p in parts])
    ]
    return parts[0]._replace(count=total, confidence=means[0], accuracy=means[1])


def _draw_reliability(lines, label, base):
    figure, axis = figures.new_figure(list(lines), height=4.2)
    axis.remove()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle=(0, (2, 2)))
    texts = []
    for index, (name, bins) in enumerate(lines.items()):
        style, full = figures.style(index), bins.count > _FEW * bins.count.sum()
        upper.plot(
            100 * bins.confidence[full],
            100 * bins.accuracy[full],
            label=name,
            markersize=5,
            **style,
        )
        shares = bins.count / bins.count.sum()
        edges = 100 * np.append(bins.lower, bins.upper[-1])
        look = {key: style[key] for key in ("color", "linestyle")}
        lower.stairs(100 * shares, edges, linewidth=1.3, **look)
        means = [np.nansum(shares * v) for v in (bins.confidence, bins.accuracy)]
        texts.append(f"{name}: confidence {means[0]:.1%}, accuracy {means[1]:.1%}")
    upper.set_ylabel("Accuracy in the bin (%)")
    lower.set_ylabel("Share (%)")
    lower.set_xlabel(_CONFIDENCE.replace(")", ", %)"))
    lower.set_xlim(0, 100)
    for axis in (upper, lower):
        figures.tidy(axis)
    figures.legend(figure, upper)
    title = f"{label} on {base}"
    alt = f"Reliability diagram: {title}. Means: {'; '.join(texts)}."
    return Chart(title, alt, figures.data_uri(figure))


def thresholds(stored: Stored, base: str) -> list[Chart]:
    """Draws accuracy and share of the examples of at least some confidence.

    Args:
        stored: The predictions.
        base: Name of the clean data set.

    Reference:
        [Can You Trust Your Model's Uncertainty?](https://arxiv.org/abs/1906.02530)
        (Ovadia et al., 2019), Figure 1.
    """
    corrupted = [str(d) for d in stored.results.corrupted(base)]
    charts = []
    for name, sets in {"clean": [base], "all corruptions": corrupted}.items():
        lines = {"Accuracy (%)": {}, "Share of the images (%)": {}}
        for model, label in stored.results.labels().items():
            found = [metrics.confidence_curve(*p) for p in stored.all(model, sets)]
            if found:
                place, accuracy, share = _pool_curves(found)
                lines["Accuracy (%)"][label] = place, accuracy
                lines["Share of the images (%)"][label] = place, share
        for heading, curves in lines.items():
            if curves:
                title = f"{heading} above a confidence: {base}, {name}"
                axes = (f"{_CONFIDENCE.partition(' (')[0]} of at least", heading)
                charts.append(_draw_curves(curves, title, axes, 0.9))
    return charts


def _pool_curves(parts):
    """Returns thresholds, and accuracies and shares over several data sets."""
    counts = np.array([part.count for part in parts])
    right = np.array([np.nan_to_num(p.accuracy) * p.count for p in parts]).sum(axis=0)
    total = counts.sum(axis=0)
    accuracy = right / np.where(total > 0, total, np.nan)
    return parts[0].threshold, 100 * accuracy, 100 * total / total[0]


def risk_coverage(stored: Stored, base: str) -> list[Chart]:
    """Draws the error rate of the most confident examples against their share.

    They are ranked by the largest probability; or, where that was evaluated, by each
    model's own score, on the clean images and on all corrupted ones together.

    Args:
        stored: The predictions.
        base: Name of the clean data set.
    """
    results, groups = stored.results, {"clean": [base]}
    if results.ranks_by:
        corrupted = [str(data) for data in results.corrupted(base)]
        groups["all corruptions"] = corrupted
    charts = []
    for name, sets in groups.items():
        curves = {}
        for model, label in results.labels().items():
            found = [stored.ranked(model, data) for data in sets]
            if found := [ranked for ranked in found if ranked]:
                by = results.ranks_by.get(model)
                text = f"{label}, {by.replace('_', ' ')}" if by else label
                curves[text] = _risks(found)
        if curves:
            title = f"Error of the most confident images: {base}, {name}"
            axes = "Share of the images that is kept (%)", "Error (%)"
            charts.append(_draw_curves(curves, title, axes, 50))
    return charts


def _risks(found):
    """Returns shares and error rates, in percent, over several data sets together."""
    probs, labels, scores = zip(*found, strict=True)
    together = None if scores[0] is None else np.concatenate(scores)
    curve = metrics.risk_coverage(
        np.concatenate(probs), np.concatenate(labels), together
    )
    # Hundreds of points look like all of them; the first few are noise.
    places = np.linspace(0, len(curve.risk) - 1, 201).astype(int)[1:]
    return 100 * curve.coverage[places], 100 * curve.risk[places]


def _draw_curves(curves, title, axes, mark):
    """Draws lines of many points; the alternative text has those at `mark`."""
    figure, axis = figures.new_figure(list(curves))
    texts = []
    for index, (label, (x, y)) in enumerate(curves.items()):
        every = max(len(x) // 8, 1)
        axis.plot(x, y, label=label, markevery=every, **figures.style(index))
        texts.append(f"{label} {y[np.argmin(np.abs(x - mark))]:.2f} at {mark:g}")
    axis.set_xlabel(axes[0])
    axis.set_ylabel(axes[1])
    figures.tidy(axis)
    figures.legend(figure, axis)
    alt = f"Line chart: {title}. {'; '.join(texts)}."
    return Chart(title, alt, figures.data_uri(figure))


def entropies(stored: Stored, base: str) -> list[Chart]:
    """Draws histograms of the entropy in and out of distribution, one for each model.

    Args:
        stored: The predictions.
        base: Name of the data set in distribution.
    """
    others = [data.change for data in stored.results.of_kind("detection", base)]
    charts = []
    for model, label in stored.results.labels().items():
        found = {name: stored.get(model, name) for name in (base, *others)}
        found = {name: pair[0] for name, pair in found.items() if pair}
        if base in found and len(found) > 1:
            scores = {k: metrics.ood_scores(v)["entropy"] for k, v in found.items()}
            limit = np.log(found[base].shape[-1])
            charts.append(_draw_histograms(scores, limit, label))
    return charts


def _draw_histograms(scores, limit, label):
    figure, axis = figures.new_figure(list(scores))
    edges, texts = np.linspace(0, limit, 31), []
    for index, (name, values) in enumerate(scores.items()):
        counts = np.histogram(np.minimum(values, limit), edges)[0]
        look = {key: figures.style(index)[key] for key in ("color", "linestyle")}
        words = f"{name} (in distribution)" if index == 0 else name
        shares = 100 * counts / len(values)
        axis.stairs(shares, edges, label=words, linewidth=1.6, **look)
        if index == 0:
            axis.stairs(shares, edges, fill=True, alpha=0.2, color=look["color"])
        texts.append(f"{name} {np.mean(values):.3f}")
    axis.set_xlabel("Entropy of the mean probabilities (nats)")
    axis.set_ylabel("Share of the images (%)")
    axis.set_xlim(0, limit)
    figures.tidy(axis)
    figures.legend(figure, axis)
    alt = f"Histograms of the entropy of {label}. Means in nats: {', '.join(texts)}."
    return Chart(label, alt, figures.data_uri(figure))
