"""What the Hugging Face hub reads of a model card."""

from zoo import records
from zoo.presets import Preset


def front_matter(preset: Preset) -> dict[str, object]:
    """Returns the metadata of a card, in the fields of the Hugging Face hub."""
    methods = preset.stem.split("_")[1:]
    names = dict.fromkeys(row["metric"] for row in preset.results)
    return {
        "license": preset.license,
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["keras", "image-classification", "uncertainty", *methods],
        **_datasets(preset),
        "metrics": list(names),
        "model-index": [{"name": preset.name, "results": _index(preset.results)}],
    }


def _datasets(preset) -> dict[str, list[str]]:
    """Returns the field of public data sets; a folder of the user is none of them."""
    is_public = preset.data and not preset.data_is_own
    return {"datasets": [records.base_dataset(preset.data)]} if is_public else {}


def _index(rows) -> list[dict]:
    """Returns one result for each data set and number of passes."""
    found = {}
    for row in rows:
        key = row["dataset"], row["num_samples"], row["seed"]
        metric = {
            "type": row["metric"],
            "name": f"{row['metric']}, {row['num_samples']} passes",
            "value": row["value"],
            "args": {"num_samples": row["num_samples"], "seed": row["seed"]},
        }
        found.setdefault(key, []).append(metric)
    return [
        {
            "task": {"type": "image-classification"},
            "dataset": {"type": dataset, "name": dataset, "split": "test"},
            "metrics": metrics,
        }
        for (dataset, _, _), metrics in found.items()
    ]
