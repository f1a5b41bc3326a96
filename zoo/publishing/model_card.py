"""Model cards: what weights are, how they came about, what was measured."""

import dataclasses
import json
import re
import textwrap

from zoo import dataset_name
from zoo.presets import Preset
from zoo.presets.provenance import CONVERTED, seen_images, unlike
from zoo.publishing import results
from zoo.registry import parse, task_of
from zoo.storage import hugging_face

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
{{ task.result }} = zoo.predictive.{{ task.function }}(posterior(images))  # {{ shape }}
{% for name in p.posteriors %}
{{ name }} = zoo.load("{{ p.name }}@{{ name }}", weights=folder)
{% endfor %}
```

`images` are {{ inputs }} of shape `(batch, {{ p.input_shape | join(", ") }})`.
{% if task.note %}
{{ task.note }}
{% endif %}

{% if saved_model %}
The SavedModel gives the same kind of probabilities without this package:

```python
{% if repository %}
import huggingface_hub
{% endif %}
import tensorflow as tf

{% if repository %}
folder = huggingface_hub.snapshot_download("{{ repository }}")
{% endif %}
served = tf.saved_model.load(f"{folder}/saved_model")
classify = served.signatures["serving_default"]
probs = classify(images=tf.cast(images, tf.float32))["probabilities"]
```

{% endif %}
## Results

{% for text, table in tables %}
{{ text }}

{% for row in table %}
| {{ row | join(" | ") }} |
{% if loop.first %}
|{{ "---|" * row | length }}
{% endif %}
{% endfor %}

{% endfor %}
{% if tables %}
{% if seeds %}
Values with ± are the mean, the standard deviation and the number of trainings that
differ in the seed: {{ seeds }}. The weights here are those of the first.

{% endif %}
Test images: {{ counts }}. Seed of the passes: {{ passes }}. `results.jsonl` has all
metrics on all sets.

{% else %}
None were measured.

{% endif %}
{% if converted %}
## Provenance

    {{ p.command }}

{{ converted }}

* Source: {{ p.settings | listed }}.
* Commit: `{{ p.commit }}`. Versions: {{ p.versions | listed }}.
{% else %}
## Training

    {{ p.command }}

{% if p.initial_weights %}
* It did not start from scratch, but from: {{ p.initial_weights | listed }}.
{% endif %}
* Recipe `{{ p.recipe }}`: {{ p.settings | listed }}.
{% if rederived %}
* {{ rederived }}
{% endif %}
* Epochs: {{ p.epochs }}. Seed: {{ p.seed }}. Commit: `{{ p.commit }}`.
* Versions: {{ p.versions | listed }}.
{% endif %}
{% for name, entry in p.posteriors.items() %}
{% set learned = dict(entry["values"] | rounded, **entry.settings) %}
* `@{{ name }}` was fitted to {{ "{:,}".format(entry.images) }} images of
  `{{ entry.dataset }}`{% if learned %}: {{ learned | listed }}{% endif %}.
{% if entry.get("members") %}
* It is of {{ entry.members | length + 1 }} networks: the others are in
  `{{ entry.members | map(attribute="file") | join("`, `") }}`.
{% endif %}
{% endfor %}
{% if p.compression %}
* The network was made smaller: {{ p.compression | listed }}.
{% endif %}
{% for name, settings in p.layers.items() %}
* Layers `{{ name }}`: {{ settings | listed }}.
{% endfor %}

## Data

`{{ p.data }}`, license: {{ p.data_license }}. {{ classes }}.

The training {{ seen }}. {{ fresh }}

{{ normalized }} are normalized inside the model, with the mean {{ p.mean | numbers }}
and the variance {{ p.variance | numbers }} per {{ each }}.

## Limits

* {{ task.limit.format(p.data) }}
* {{ measured }}
{% if p.overlaps %}
* Its training has seen the like of {{ p.overlaps | quoted }}, which are corruptions of
  the benchmark: what is measured under these, and means in which they are, flatters it.
{% endif %}
{% if seeds %}
* Differences between models that are not larger than the deviations over the
  trainings may be chance.
{% else %}
* It is one training{{ "" if converted else ", with one seed" }}. How much another one
  differs was not measured, and small differences between models may be no more than
  that.
{% endif %}

## Files

The weights, `model.safetensors`, have {{ p.size }} bytes and the sha256
`{{ p.sha256 }}`. `SHA256SUMS` has that of every
file. License of the weights: {{ p.license }}.
{% if "sha256" in p.seen %}
`training_images.npy` has 64 bits of a hash of each image that the training saw:
`zoo-evaluate` says which test images are among them, and `--exclude_seen` leaves them
out.
{% endif %}
{% if p.rounding %}

They were rounded from float32 to float16, which changed this, in one pass:
{{ p.rounding | listed }}.
{% endif %}
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
    whole = [row for row in rows if not results.is_part(row)]
    counts = {f"`{row['dataset']}`": row["num_examples"] for row in whole}
    environment = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    filters = {"listed": _listed, "numbers": _numbers, "rounded": _rounded}
    filters["quoted"] = _quoted
    environment.filters |= filters
    text = environment.from_string(_TEMPLATE, {"p": preset}).render(
        front="\n".join(front),
        summary=_summary(preset),
        folder=folder,
        repository=hugging_face.split(folder)[0] if hugging_face.is_hub(folder) else "",
        saved_model=saved_model,
        shape=_shape(preset),
        task=_task(preset),
        **_INPUTS[len(preset.input_shape)],
        tables=tables(preset),
        seeds=_seeds(preset),
        counts=", ".join(f"{n:,} of {name}" for name, n in counts.items()),
        passes=", ".join(map(str, dict.fromkeys(row["seed"] for row in rows))),
        measured=_measured(list(counts)),
        rederived=_rederived(preset.settings),
        converted=_converted(preset),
        classes=_classes(preset),
        seen=seen_images(preset.seen),
        fresh=_fresh(preset.seen),
    )
    return _wrapped(text)


@dataclasses.dataclass(frozen=True)
class _Task:
    """What a card says of a task: its name on the hub, what models are and give."""

    tag: str
    what: str
    logits: str
    result: str = "probs"
    function: str = "probs"
    note: str = ""
    limit: str = (
        "It knows images like those of `{}` and the classes above, and has to predict "
        "one of them. A picture of anything else gets a prediction too."
    )


def _task(preset) -> _Task:
    """Returns the words for what a model is for, by its architecture and target."""
    return _TASKS["regression" if preset.target else task_of(preset.stem)]


def _shape(preset) -> str:
    """Returns the shape of the logits, as the code on a card has it."""
    is_map = task_of(preset.stem) == "segmentation"
    sides = preset.input_shape[:2] if is_map else ()
    return f"(batch, {', '.join(map(str, (*sides, preset.num_classes)))})"


# What a card says of inputs, by their rank.
_INPUTS = {
    1: {"inputs": "numbers", "normalized": "Features", "each": "feature"},
    3: {"inputs": "pixels in [0, 255]", "normalized": "Pixels", "each": "channel"},
}
_TASKS = {
    "classification": _Task(
        tag="image-classification", what="classifier", logits="logits"
    ),
    "segmentation": _Task(
        tag="image-segmentation",
        what="network for the segmentation",
        logits="logits for each pixel",
    ),
    "regression": _Task(
        tag="tabular-regression",
        what="regressor",
        logits="numbers, mean and standard deviation",
        result="gaussians",
        function="gaussian",
        note="The result has means and standard deviations, in the unit of the "
        "targets.",
        limit="It knows examples like those of `{}`. Any other gets a prediction too, "
        "and how sure that is was not measured.",
    ),
}


# What differs from the paper of an objective, or may, by its name in a recipe.
_REDERIVED = {
    "ar_adals": "the attack that sorts images is PGD with a Euclidean norm, in place "
    "of that of Carlini and Wagner",
    "ada": "the network that augments is small, and two numbers for each of its "
    "channels are changed, in place of all weights",
}


def _rederived(settings) -> str:
    """Returns what a card says of an objective whose paper has no published code."""
    name = str(settings.get("objective")).partition(":")[0]
    if name not in _REDERIVED:
        return ""
    return (
        f"The objective `{name}` is re-derived from the abstract of its paper, which "
        f"has no published code: {_REDERIVED[name]}."
    )


def _wrapped(text) -> str:
    """Wraps the paragraphs and items of lists in Markdown; all else stays as it is."""
    blocks, is_code = [], False  # As which the metadata count, between lines ---.
    for line in text.splitlines():
        is_code ^= line.startswith(("```", "---"))
        is_prose = not is_code and line[:3] not in ("", "---", "```", "   ")
        is_prose = is_prose and line[0] not in "|#"
        if is_prose and blocks[-1][1] and not line.startswith("* "):
            blocks[-1] = f"{blocks[-1][0]} {line.strip()}", True
        else:
            blocks.append((line, is_prose))
    lines = (_filled(line) if is_prose else line for line, is_prose in blocks)
    return "\n".join(lines) + "\n"


def _filled(line) -> str:
    # Code is not broken.
    whole = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\0"), line)
    filled = textwrap.fill(
        whole,
        width=100,
        subsequent_indent="  " if line.startswith("* ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\0", " ")


def tables(preset: Preset) -> list[tuple[str, list[list[str]]]]:
    """Returns the tables of results of a card, each with the sentence above it.

    Args:
        preset: Its values, and those of its other trainings, are in them.
    """
    rows = [*preset.results, *preset.others]
    means = [row for row in rows if results.is_mean(row)]
    outside = [row for row in rows if results.is_detection(row)]
    clean = [row for row in rows if row not in means and row not in outside]
    named = {
        "Of the mean probabilities of several forward passes; a deterministic model "
        "has one line.": clean,
        "Out-of-distribution detection by the entropy.": outside,
        "Means over sets that are derived from the test images.": means,
    }
    for model in dict.fromkeys(row["model"] for row in preset.of_posteriors):
        own = [row for row in preset.of_posteriors if row["model"] == model]
        named[f"Of the posterior `{model}`."] = own
    return [(text, _table(own)) for text, own in named.items() if own]


def _table(rows):
    heading, *lines = results.table(rows)
    return [heading, *([f"`{name}`", *cells] for name, *cells in lines)]


def _seeds(preset) -> str:
    """Returns the trainings of which there are results, if they are several."""
    others = dict.fromkeys(row["model"] for row in preset.others)
    return ", ".join(f"`{name}`" for name in (preset.name, *others)) if others else ""


def _listed(fields) -> str:
    return ", ".join(f"{key} {value}" for key, value in fields.items())


def _quoted(names) -> str:
    *first, last = (f"`{name}`" for name in names)
    return f"{', '.join(first)} and {last}" if first else last


def _rounded(values) -> dict[str, str]:
    return {key: f"{value:.4g}" for key, value in values.items()}


def _numbers(values) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _measured(datasets) -> str:
    if not datasets:
        return "Nothing was measured."
    return f"It was measured on {', '.join(datasets)} and on nothing else."


def _classes(preset) -> str:
    """Returns what a card says of the classes, or of the targets."""
    if preset.target:
        mean, deviation = preset.target
        return f"Targets of the training: {mean:.4g} \u00b1 {deviation:.4g}"
    return f"Classes, in the order of the logits: {_names(preset)}"


def _names(preset) -> str:
    if preset.classes == tuple(map(str, range(preset.num_classes))):
        return f"numbers from 0 to {preset.num_classes - 1}, those of the data set"
    return ", ".join(preset.classes)


def _fresh(seen) -> str:
    if seen.get("held_out"):
        return "Fit temperatures, thresholds and the like to these."
    return (
        "Fit temperatures, thresholds and the like to other images: of those that it "
        "was trained on it is too sure."
    )


def _converted(preset) -> str:
    """Says of weights of another library what they are not; empty for our own."""
    if preset.recipe != CONVERTED:
        return ""
    text = (
        "The weights were not trained here: they are those of a network of another "
        "library, in the layers of this package."
    )
    network = preset.settings.get("network")
    trained = parse(network).methods if network else None
    if difference := unlike(parse(preset.name).methods, trained):
        text += (
            f" **They were trained {difference}.** The layers of this model were put "
            "together afterwards, so it is not one that was trained that way: train it "
            "on, or evaluate it, before you rely on it."
        )
    return text


def _summary(preset) -> str:
    *sides, channels = preset.input_shape
    task, many = _task(preset), "s" if channels > 1 else ""
    of, raw = f"rows of {channels} number{many}", "raw numbers"
    if sides:
        height, width = sides
        of = f"{height} x {width} images with {channels} channel{many}"
        raw = "raw pixels"
    return (
        f"A Keras 3 {task.what} of {of}, trained on `{preset.data}`. From "
        f"{raw} to {preset.num_classes} {task.logits}, with the layers of "
        f"`{preset.stem}` from the package smoothzoo."
    )


def front_matter(preset: Preset) -> dict[str, object]:
    """Returns the metadata of a card, in the fields of the Hugging Face hub."""
    methods = preset.stem.split("_")[1:]
    names = dict.fromkeys(row["metric"] for row in preset.results)
    tag = _task(preset).tag
    return {
        "license": preset.license,
        "library_name": "keras",
        "pipeline_tag": tag,
        "tags": ["keras", tag, "uncertainty", *methods],
        **_datasets(preset),
        "metrics": list(names),
        "model-index": [
            {"name": preset.name, "results": _model_index(preset.results, tag)}
        ],
    }


def _datasets(preset) -> dict[str, list[str]]:
    """Returns the field of public data sets; a folder of the user is not one."""
    is_public = preset.data and not preset.data_is_own
    return {"datasets": [dataset_name.base_dataset(preset.data)]} if is_public else {}


def _model_index(rows, tag) -> list[dict]:
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
            "task": {"type": tag},
            "dataset": {"type": dataset, "name": dataset, "split": "test"},
            "metrics": metrics,
        }
        for (dataset, _, _), metrics in found.items()
    ]
