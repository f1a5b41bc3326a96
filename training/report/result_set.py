"""What rows are about: models, data sets and their kinds, and the values."""

import math
import statistics
from collections.abc import Iterable, Mapping

from training.metrics.table import RANKING
from training.report.rows import with_distinct_names
from zoo import dataset_name
from zoo.dataset_name import DatasetName


class Results:
    """The values of rows by model, data set, metric and size; seeds are averaged.

    Args:
        rows: Rows of an evaluation; see `training.evaluation.evaluate.evaluate`.
    """

    def __init__(self, rows: Iterable[Mapping]):
        self.rows = with_distinct_names(rows)
        self.models = _distinct(row["model"] for row in self.rows)
        self.metrics = _distinct(row["metric"] for row in self.rows)
        names = _distinct(row["dataset"] for row in self.rows)
        self.datasets = {name: dataset_name.parse(name) for name in names}
        self.ranks_by = {}  # By model the name of its score, if that was evaluated.
        for row in self.rows:
            stem, _, score = row["metric"].partition("/")
            if score and stem in RANKING:
                self.ranks_by[row["model"]] = score
        found = {}
        for row in self.rows:
            key = row["model"], row["dataset"], row["metric"]
            sizes = found.setdefault(key, {})
            sizes.setdefault(row["num_samples"], []).append(row["value"])
        self._values = {key: dict(sorted(v.items())) for key, v in found.items()}

    def by_size(self, model: str, dataset: str, metric: str) -> dict[int, float]:
        """Returns the values by ensemble size, from the smallest on."""
        sizes = self._values.get((model, dataset, metric), {})
        return {size: _mean(values) for size, values in sizes.items()}

    def seeds(self, model: str, dataset: str, metric: str) -> list[float]:
        """Returns the values of the largest ensemble, one for each seed."""
        sizes = self._values.get((model, dataset, metric), {})
        return sizes[max(sizes)] if sizes else []

    def value(self, model: str, dataset: str, metric: str) -> float:
        """Returns the value of the largest ensemble; NaN if there is none."""
        return _mean(self.seeds(model, dataset, metric))

    def own(self, model: str, metric: str) -> str:
        """Returns the name of a metric with the score that a model ranks by.

        That is `metric/score`, or `metric` by itself where there are no such rows.
        """
        name = f"{metric}/{self.ranks_by.get(model)}"
        return name if name in self.metrics else metric

    def size(self, model: str) -> int:
        """Returns the size of a model's largest ensemble."""
        return max(r["num_samples"] for r in self.rows if r["model"] == model)

    def of_kind(self, kind: str, base: str | None = None) -> list[DatasetName]:
        """Returns the data sets of a kind, in their order in the rows."""
        return [
            data
            for data in self.datasets.values()
            if data.kind == kind and base in (None, str(data.clean))
        ]

    def corrupted(self, base: str) -> list[DatasetName]:
        """Returns the corrupted sets which all models have, of those that have any.

        What is averaged or put together is so over the same sets for each model.
        """
        sets = self.of_kind("corruption", base)
        named = {str(data) for data in sets}
        has = {}
        for row in self.rows:
            if row["dataset"] in named:
                has.setdefault(row["model"], set()).add(row["dataset"])
        common = named.intersection(*has.values())
        return [data for data in sets if str(data) in common]

    def bases(self, kind: str) -> list[str]:
        """Returns the clean data sets which those of a kind are made from."""
        return _distinct(str(data.clean) for data in self.of_kind(kind))

    def labels(self) -> dict[str, str]:
        """Returns short names of the models: without an ending that all of them share.

        That is the tag of the weights, which are mostly those of one data set.
        """
        tags = {model.rpartition(".")[2] for model in self.models if "." in model}
        if len(tags) != 1 or not all("." in model for model in self.models):
            return {model: model for model in self.models}
        return {model: model.rpartition(".")[0] for model in self.models}


def _distinct(values):
    return list(dict.fromkeys(values))


def _mean(values):
    values = [value for value in values if not math.isnan(value)]
    return statistics.fmean(values) if values else math.nan
