"""What the rows of an evaluation carry."""

import pathlib

from training.evaluation import carried
from training.versions import current_commit
from zoo.presets import index


def test_rows_carry_the_commit_and_what_is_known_of_named_models(tmp_path):
    path = tmp_path / "mine.tflite"
    path.write_bytes(bytes(100))
    presets = index.read(results=False)
    first, second = presets["resnet20.cifar10"], presets["resnet20.fashion_mnist"]
    names = [first.name, str(path), f"{first.name}+{second.name}@temperature"]
    models = [first.name, path.name, "both", f"{first.name}@mc", "of a suite"]
    rows = [{"model": model, "value": place} for place, model in enumerate(models)]
    rows = carried.with_facts(rows, carried.of_models(models, names))
    assert [row["value"] for row in rows] == [0, 1, 2, 3, 4]
    assert {row["commit"] for row in rows} == {current_commit()}
    known = [
        {k: v for k, v in row.items() if k not in ("model", "value", "commit")}
        for row in rows
    ]
    own = {
        "bytes": first.size,
        "chosen_on": "validation: 5,000 held-out training images",
        "card": "zoo:resnet20.cifar10",
    }
    of_both = "; ".join((own["chosen_on"], "nothing: no training images were held out"))
    both = {"bytes": first.size + second.size, "chosen_on": of_both}
    assert known == [own, {"bytes": 100}, both, own, {}]


def test_weights_of_a_place_have_no_packaged_card():
    preset = index.read(results=False)["resnet20.cifar10"]
    path = pathlib.Path(index.FOLDER, "pretrained", preset.file)
    found = carried.of_model("resnet20", str(path))
    assert found == {"bytes": preset.size}
