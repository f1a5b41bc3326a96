"""Model cards: what weights are, how they came about, what was measured."""

import json

from zoo import results
from zoo.presets import Preset
from zoo.registry import parse

CONVERTED = "converted"  # In the place of a recipe: trained by others, elsewhere.
_CLASSIFIERS = {"mlp"}  # Methods that networks of others have of themselves.
_TEMPLATE = """\
---
{{ front }}
---

# {{ p.name }}

{{ summary }}

## Use

```python
import zoo

folder = "{{ folder }}"  # Where this file lies.
model = zoo.load("{{ p.name }}", weights=folder)
posterior = zoo.posterior.MonteCarlo(model, num_samples=10)
probs = zoo.predictive.probs(posterior(images))  # (batch, {{ p.num_classes }})
```

`images` are pixels in [0, 255] of shape `(batch, {{ p.input_shape | join(", ") }})`.

{% if saved_model %}
The SavedModel gives the same kind of probabilities without this package:

```python
import tensorflow as tf

served = tf.saved_model.load(f"{folder}/saved_model")
classify = served.signatures["serving_default"]
probs = classify(images=tf.cast(images, tf.float32))["probabilities"]
```

{% endif %}
## Results

{% if table %}
Of the mean probabilities of so many forward passes; a deterministic model has one line.

{% for row in table %}
| {{ row | join(" | ") }} |
{% if loop.first %}
|{{ "---|" * row | length }}
{% endif %}
{% endfor %}

Test images: {{ counts }}. Seed of the passes: {{ seeds }}.

{% else %}
None were measured.

{% endif %}
{% if converted %}
## Origin

    {{ p.command }}

{{ converted }}

* Source: {{ p.settings | listed }}.
* Commit: `{{ p.commit }}`. Versions: {{ p.versions | listed }}.
{% else %}
## Training

    {{ p.command }}

{% if p.origin %}
* It did not start from scratch, but from: {{ p.origin | listed }}.
{% endif %}
* Recipe `{{ p.recipe }}`: {{ p.settings | listed }}.
* Epochs: {{ p.epochs }}. Seed: {{ p.seed }}. Commit: `{{ p.commit }}`.
* Versions: {{ p.versions | listed }}.
{% endif %}
{% for name, settings in p.layers.items() %}
* Layers `{{ name }}`: {{ settings | listed }}.
{% endfor %}

## Data

`{{ p.data }}`, licence: {{ p.data_license }}. Classes, in the order of the logits:
{{ classes }}.

Pixels are normalized inside the model, with the mean {{ p.mean | numbers }} and the
variance {{ p.variance | numbers }} per channel.

## Limits

* It knows images like those of `{{ p.data }}` and the classes above, and has to answer
  with one of them. A picture of anything else gets an answer too.
* {{ measured }}
* It is one training{{ "" if converted else ", with one seed" }}. How much another one
  differs was not measured, and small differences between models may be no more than
  that.

## Files

The weights, `model.safetensors`, have {{ p.size }} bytes and the sha256
`{{ p.sha256 }}`. `SHA256SUMS` has that of every
file. Licence of the weights: {{ p.license }}.
"""


def card(preset: Preset, folder: str, saved_model: bool) -> str:
    """Returns a model card in Markdown, with the metadata of the Hugging Face hub.

    Args:
        preset: What the card is about.
        folder: How the usage code calls the folder of the card.
        saved_model: Whether there is a SavedModel beside it.
    """
    import jinja2

    front = [
        f"{key}: {json.dumps(value, ensure_ascii=False)}"  # JSON is YAML.
        for key, value in front_matter(preset).items()
    ]
    rows = preset.results
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    counts = {row["dataset"]: row["num_examples"] for row in rows}
    environment = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"listed": _listed, "numbers": _numbers}
    return environment.from_string(_TEMPLATE, {"p": preset}).render(
        front="\n".join(front),
        summary=_summary(preset),
        folder=folder,
        saved_model=saved_model,
        table=results.table(rows) if rows else [],
        counts=", ".join(f"{n:,} of {name}" for name, n in counts.items()),
        seeds=", ".join(map(str, dict.fromkeys(row["seed"] for row in rows))),
        measured=_measured(datasets),
        converted=_converted(preset),
        classes=_classes(preset),
    )


def _listed(fields) -> str:
    return ", ".join(f"{key} {value}" for key, value in fields.items())


def _numbers(values) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _measured(datasets) -> str:
    if not datasets:
        return "Nothing was measured."
    names = ", ".join(f"`{name}`" for name in datasets)
    return f"It was measured on {names} and on nothing else."


def _classes(preset) -> str:
    if preset.classes == tuple(map(str, range(preset.num_classes))):
        return f"numbers from 0 to {preset.num_classes - 1}, those of the data set"
    return ", ".join(preset.classes)


def added(name: str) -> list[str]:
    """Returns the methods of a model that networks of other libraries do not have."""
    return [method for method in parse(name).methods if method not in _CLASSIFIERS]


def _converted(preset) -> str:
    """Says of weights of another library what they are not; empty for our own."""
    if preset.recipe != CONVERTED:
        return ""
    text = (
        "The weights were not trained here: they are those of a network of another "
        "library, in the layers of this package."
    )
    if methods := added(preset.name):
        text += (
            f" **They were trained without {', '.join(methods)}.** The layers of these "
            "methods were put in afterwards, so this is not a model that was trained "
            "with them: train it on, or evaluate it, before you rely on it."
        )
    return text


def _summary(preset) -> str:
    height, width, channels = preset.input_shape
    return (
        f"A Keras 3 classifier of {height} x {width} images with {channels} "
        f"channel{'s' if channels > 1 else ''}, trained on `{preset.data}`. From "
        f"raw pixels to {preset.num_classes} logits, with the layers of "
        f"`{preset.stem}` from the package smoothzoo."
    )


def front_matter(preset: Preset) -> dict[str, object]:
    """Returns the metadata of a card, in the fields of the Hugging Face hub."""
    methods = preset.stem.split("_")[1:]
    names = dict.fromkeys(row["metric"] for row in preset.results)
    return {
        "license": preset.license,
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["keras", "image-classification", "uncertainty", *methods],
        "datasets": [preset.data],
        "metrics": list(names),
        "model-index": [{"name": preset.name, "results": _index(preset.results)}],
    }


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
