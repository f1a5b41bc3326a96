import dataclasses
import json
import re

import pytest

from zoo import presets
from zoo.presets import index as index_module
from zoo.publishing import model_card, results

NAME = "resnet20_smooth_mcdo.toys"
ROW = {"dataset": "toys", "num_examples": 9, "seed": 0}
PRESET = presets.Preset(
    NAME,
    sha256="12" * 32,
    size=1000,
    input_shape=(16, 16, 1),
    num_classes=4,
    mean=(70.0,),
    variance=(8000.25,),
    classes=("cat", "dog: a", "'[x]'", "e\u00e9"),
    layers={"MCDropout": {"rate": 0.3, "channelwise": False}},
    data="toys",
    data_license="mit",
    recipe="quick",
    initial_weights={"weights": "body", "head": "new"},
    settings={"epochs": 3, "learning_rate": 0.1, "milestones": [1, 2]},
    seed=5,
    epochs=3,
    command="zoo-train --model=x --workdir=runs/it --seed=5",
    commit="0123abc",
    versions={"keras": "3.15", "smoothzoo": "0.1"},
    results=tuple(
        {**ROW, "num_samples": n, "metric": metric, "value": value / n}
        for n in (1, 10)
        for metric, value in (("nll", 0.5), ("accuracy", 0.75))
    ),
)
CARD = model_card.card(PRESET, "it", saved_model=True)
FRONT = CARD.split("---\n", 2)[1]


def test_the_metadata_of_the_card_are_those_of_the_hub():
    lines = FRONT.splitlines()
    pairs = (line.split(": ", 1) for line in lines)
    fields = {key: json.loads(value) for key, value in pairs}
    assert fields["license"] == "apache-2.0"
    assert fields["library_name"] == "keras"
    assert {"image-classification", "smooth", "mcdo"} <= set(fields["tags"])
    assert fields["datasets"] == ["toys"]
    assert fields["metrics"] == ["nll", "accuracy"]
    (index,) = fields["model-index"]
    assert index["name"] == NAME
    assert [len(result["metrics"]) for result in index["results"]] == [2, 2]
    metric = index["results"][1]["metrics"][0]
    assert (metric["type"], metric["value"]) == ("nll", 0.05)
    assert metric["args"] == {"num_samples": 10, "seed": 0}
    assert index["results"][0]["dataset"]["type"] == "toys"


def test_a_folder_of_the_user_is_no_data_set_of_the_hub():
    own = dataclasses.replace(PRESET, data="cifar10", data_is_own=True)
    assert "datasets:" not in model_card.card(own, "it", saved_model=False)
    assert "`cifar10`, license: mit." in model_card.card(own, "it", saved_model=False)


def test_the_metadata_are_yaml():
    yaml = pytest.importorskip("yaml")
    fields = yaml.safe_load(FRONT)
    assert fields["model-index"][0]["results"][0]["metrics"][1]["value"] == 0.75


def test_the_card_has_results_recipe_seed_command_and_data():
    expected = [
        f"# {NAME}\n",
        "| dataset | passes | nll | accuracy |\n|---|---|---|---|\n"
        "| `toys` | 1 | 0.5000 | 0.7500 |\n| `toys` | 10 | 0.0500 | 0.0750 |\n\n",
        "    zoo-train --model=x --workdir=runs/it --seed=5\n",
        "* It did not start from scratch, but from: weights body, head new.\n",
        "* Recipe `quick`: epochs 3, learning_rate 0.1, milestones [1, 2].\n",
        "* Epochs: 3. Seed: 5. Commit: `0123abc`.\n",
        "* Versions: keras 3.15, smoothzoo 0.1.\n",
        "* Layers `MCDropout`: rate 0.3, channelwise False.\n",
        "`toys`, license: mit.",
        "cat, dog: a, '[x]', e\u00e9.",
        "Test images: 9 of `toys`. Seed of the passes: 0.",
        "measured on `toys` and on nothing else",
        PRESET.sha256,
    ]
    for part in expected:
        assert part in CARD
    for heading in ("Use", "Results", "Training", "Data", "Limits", "Files"):
        assert f"\n\n## {heading}\n\n" in CARD
    assert CARD.endswith("apache-2.0.\n")
    assert "\n\n\n" not in CARD


def test_the_card_tells_clean_sets_from_others_and_from_means():
    row = {"dataset": "toys vs mnist", "num_examples": 9, "num_samples": 1, "seed": 0}
    outside = {**row, "metric": "auroc/entropy", "value": 0.5}
    made = [
        {**row, "dataset": f"toys_c/{name}/{s}", "metric": "nll", "value": float(s)}
        for name in ("fog", "snow")
        for s in (1, 2)
    ]
    rows = (*PRESET.results, outside, *results.means(made))
    text = model_card.card(dataclasses.replace(PRESET, results=rows), "it", False)
    expected = [
        "| dataset | passes | auroc/entropy |\n|---|---|---|\n"
        "| `toys vs mnist` | 1 | 0.5000 |\n\n",
        "| dataset | passes | nll |\n|---|---|---|\n"
        "| `toys_c/*/* (4 sets)` | 1 | 1.5000 |\n| `toys_c/fog/* (2 sets)` | 1 | 1.50",
        "9 of `toys`, 9 of `toys vs mnist`, 36 of `toys_c/*/* (4 sets)`. Seed",
        "on `toys`, `toys vs mnist`, `toys_c/*/* (4 sets)` and on nothing else",
    ]
    for part in expected:
        assert part in text or part in " ".join(text.split())
    assert "\n\n\n" not in text


LONG = dataclasses.replace(
    PRESET,
    classes=tuple(f"class number {i}" for i in range(20)),
    settings={f"setting_{i}": i for i in range(20)},
    command=f"zoo-train {'--flag=value ' * 20}",
    posteriors={
        "temperature": {
            "dataset": "toys_validation",
            "images": 5000,
            "values": {"temperature": 33.9521598815918},
            "settings": {"num_samples": 10},
        }
    },
    results=tuple(
        {**row, "dataset": f"toys_{name}/* (5 sets)"}
        for row in PRESET.results
        for name in ("c/fog", "c/contrast", "c/brightness", "rotation", "translation")
    ),
)


def test_the_prose_of_a_card_is_wrapped_and_nothing_else(monkeypatch):
    text = model_card.card(LONG, "it", saved_model=True)
    monkeypatch.setattr(model_card, "_wrapped", lambda text: text)
    plain = model_card.card(LONG, "it", saved_model=True)
    assert text.split() == plain.split()
    body = text.split("---\n", 2)[2].splitlines()
    prose = [line for line in body if not line.startswith(("|", "    "))]
    assert 90 < max(map(len, prose)) <= 100
    assert all(line.count("`") % 2 == 0 for line in prose if "```" not in line)
    for pattern in (r"```.*?^```", r"^(?:\||    |#)[^\n]*$", r"\A---.*?^---$"):
        kept = re.compile(pattern, re.DOTALL | re.MULTILINE)
        assert kept.findall(text) == kept.findall(plain)


def test_what_a_posterior_learned_has_four_digits():
    text = model_card.card(LONG, "it", saved_model=False)
    assert "`toys_validation`: temperature 33.95, num_samples 10." in text


def test_on_the_hub_the_saved_model_is_downloaded():
    text = model_card.card(PRESET, "hf://owner/toys@v1", True)
    assert 'huggingface_hub.snapshot_download("owner/toys")' in text
    assert "huggingface_hub" not in CARD


def test_a_card_says_which_images_the_training_saw():
    def of(**seen):
        preset = dataclasses.replace(PRESET, seen=seen)
        return " ".join(model_card.card(preset, "it", saved_model=False).split())

    text = of(images=45_000, held_out=5000)
    assert "The training saw 45,000 training images; 5,000 were held out" in text
    assert "Fit temperatures, thresholds and the like to these." in text
    text = of(images=60_000, held_out=0)
    assert "The training saw all 60,000 training images" in text
    assert "and the like to other images" in text
    assert "no record, so take it that it saw all" in of()


def test_the_packaged_weights_saw_all_training_images_of_fashion_mnist():
    packaged = [p for p in index_module.read().values() if "fashion_mnist" in p.name]
    assert len(packaged) >= 19
    for preset in packaged:
        text = " ".join(model_card.card(preset, "it", saved_model=False).split())
        assert "The training saw all 60,000 training images" in text, preset.name


def test_a_card_says_what_is_rederived_from_an_abstract():
    def of(objective):
        settings = {**PRESET.settings, "objective": objective}
        preset = dataclasses.replace(PRESET, settings=settings)
        return " ".join(model_card.card(preset, "it", saved_model=False).split())

    assert "`ar_adals` is re-derived from the abstract" in of("ar_adals:rate=0.3")
    assert "in place of that of Carlini and Wagner" in of("ar_adals")
    assert "`ada` is re-derived" in of("ada:steps=1")
    for text in (of("adversarial"), of("augmix"), " ".join(CARD.split())):
        assert "re-derived" not in text
