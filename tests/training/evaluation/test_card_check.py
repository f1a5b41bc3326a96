import dataclasses
import math

import pytest

import zoo
from training import export
from training.data import loading
from training.evaluation import TOLERANCE, card_check, command
from training.report.terminal import main_rows
from zoo.presets import index
from zoo.publishing import results

NAME = "resnet20.fashion_mnist"


def rows_of_the_card(**changes):
    return [{**row, "model": NAME, **changes} for row in index.read()[NAME].results]


def test_the_values_of_the_card_do_not_deviate():
    assert card_check.check(rows_of_the_card(), {NAME: None}) == []


@pytest.mark.parametrize("change, count", [(0.0019, 0), (-0.0021, 1), (math.nan, 1)])
def test_a_value_outside_of_the_tolerance_is_one_line(change, count):
    rows = rows_of_the_card()
    rows[3]["value"] += change
    lines = card_check.check(rows, {NAME: None})
    assert len(lines) == count
    if count:
        assert rows[3]["metric"] in lines[0]
        assert f"published {rows[3]['value'] - change:.6f}"[:9] in lines[0]
        assert "tolerance 0.002" in lines[0]


@pytest.mark.parametrize("metric", ["unc_90", "acc_90", "accuracy", "freq_90"])
def test_three_of_few_examples_may_move_over_a_bound(metric):
    # 5 of 500 are wrong; 250 are sure, 3 of the wrong ones among them.
    values = {"accuracy": 0.99, "freq_90": 0.5, "acc_90": 247 / 250, "unc_90": 2 / 5}
    examples = {"accuracy": 500, "freq_90": 500, "acc_90": 250, "unc_90": 5}
    common = {"dataset": "d", "num_samples": 1, "num_examples": 500, "seed": 0}
    common |= {"model": NAME}
    card = [{**common, "metric": key, "value": values[key]} for key in values]

    def lines(moved, tolerance=TOLERANCE):
        value = values[metric] + moved / examples[metric]
        row = {**common, "metric": metric, "value": value}
        return card_check.deviations([row], card, tolerance)

    assert lines(2.99) == []
    (line,) = lines(3.01)
    assert f"tolerance {3 / examples[metric]:.4g})" in line
    assert lines(1.49, 1e-3) == []
    assert len(lines(1.51, 1e-3)) == 1
    assert len(lines(0.01, 0)) == 1


def test_a_share_of_none_has_a_finite_tolerance():
    common = {"dataset": "d", "num_samples": 1, "num_examples": 500, "seed": 0}
    common |= {"model": NAME}
    card = [{**common, "metric": "accuracy", "value": 1.0}]
    card += [{**common, "metric": "unc_90", "value": 0.0}]
    assert card_check.deviations(card, card) == []


def test_the_tolerance_can_be_given():
    rows = rows_of_the_card()
    rows[0]["value"] += 1e-3
    assert len(card_check.check(rows, {NAME: None}, 1e-4)) == 1
    with pytest.raises(ValueError, match="tolerance=-1"):
        card_check.check(rows, {NAME: None}, -1)


@pytest.mark.parametrize("change", [{"seed": 1}, {"num_examples": 50}])
def test_an_evaluation_of_something_else_cannot_be_compared(change):
    known = r"on fashion_mnist with 10000 images, .*\(95 sets\) .* images, seeds \[0\]"
    with pytest.raises(ValueError, match=known):
        card_check.check(rows_of_the_card(**change), {NAME: None})


def test_a_file_is_compared_with_the_card_that_its_name_says():
    file = f"{NAME}.tflite"
    rows = rows_of_the_card(model=file)
    assert card_check.check(rows, {file: None}, cards={file: NAME}) == []
    with pytest.raises(ValueError, match=f"no published results of '{file}'"):
        card_check.check(rows, {file: None})
    served, folder = "http://host:1/v1/models/a", "https://host/published/a"
    assert card_check.folders([served, folder], None) == [None, folder]


@pytest.mark.slow
def test_a_file_in_float32_has_the_results_on_the_card(tmp_path):
    path = tmp_path / f"{NAME}.tflite"
    export.export_tflite(zoo.load(NAME), path)
    settings = command.Settings(
        model=[str(path)],
        num_samples=(1,),
        check=True,
        output=str(tmp_path / "out"),
    )
    outcome = command.run(settings)
    assert not outcome.deviations
    assert {row["model"] for row in outcome.rows} == {path.name}
    assert {row["num_examples"] for row in outcome.rows} == {10_000}
    assert (tmp_path / "out" / "predictions" / path.name / "fashion_mnist").is_dir()
    again = dataclasses.replace(settings, check=False)  # Takes what is stored.
    first, second = (sorted(map(str, x.rows)) for x in (outcome, command.run(again)))
    assert first == second


def test_a_model_without_a_card_is_named():
    with pytest.raises(ValueError, match=f"results of 'mine'.*{NAME}"):
        card_check.check([], {"mine": None})


def test_means_over_sets_are_compared_if_they_are_over_as_many():
    common = {"model": NAME, "num_samples": 1, "num_examples": 9, "seed": 0}
    common |= {"metric": "nll"}
    made = [
        {**common, "dataset": f"d_c/fog/{s}", "value": float(s)} for s in range(1, 6)
    ]
    card = results.means(made)
    assert [row["value"] for row in card] == [3.0, 3.0]
    entry = dataclasses.replace(index.read()[NAME], results=tuple(card))

    def check(rows):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(index, "read", lambda: {NAME: entry})
            return card_check.check(rows, {NAME: None})

    assert check(made) == []
    made[0]["value"] += 0.011
    (first, second) = check(made)
    assert "d_c/*/* (5 sets), 1 passes: nll is 3.002200, published 3.0" in first
    assert "d_c/fog/* (5 sets)" in second
    with pytest.raises(ValueError, match="Nothing of this evaluation is on the model"):
        check(made[1:])


def test_the_card_of_a_url_is_there():
    url = "hf://owner/name"
    assert card_check.folders([NAME, url], None) == [None, url]
    assert card_check.folders([NAME, url], ["a", "b"]) == ["a", "b"]


def test_results_of_a_posterior_are_of_its_settings(monkeypatch):
    row = {"model": f"{NAME}@laplace", "value": 0.5}
    entry = {"laplace": {"settings": {"structure": "diagonal"}}}
    of = dataclasses.replace(index.read()[NAME], posteriors=entry, of_posteriors=(row,))
    monkeypatch.setattr(index, "read", lambda: {NAME: of})
    for end in ("", ":structure=diagonal", ":predictive=probit"):
        assert card_check.published(f"{NAME}@laplace{end}") == (row,)
    for end in (":structure=full", ":predictive=bridge"):
        with pytest.raises(ValueError, match=f"no published results of .*{end}"):
            card_check.published(f"{NAME}@laplace{end}")


def test_a_published_folder_has_a_card_of_its_own(tmp_path):
    preset = index.read()[NAME]
    text = index.dumps([preset]).replace('"value": 0.9379,', '"value": 0.5,')
    (tmp_path / index.PRESET_FILE).write_text(text)
    lines = card_check.check(rows_of_the_card(), {NAME: str(tmp_path)})
    assert lines
    assert all("published 0.500000" in line for line in lines)


def test_folders_of_something_else_are_refused(tmp_path):
    command.check_folder(tmp_path / "new")
    command.check_folder(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(
        ValueError, match="not that of an evaluation.*model.safetensors"
    ):
        command.check_folder(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        command.check_folder(tmp_path / "model.safetensors")
    (tmp_path / "rows.jsonl").touch()
    command.check_folder(tmp_path)


def test_a_terminal_shows_clean_data_where_there_are_many_others():
    rows = [
        {"dataset": name, "metric": metric}
        for name in ("x", "x vs y", *(f"x_c/fog/{s}" for s in range(1, 6)))
        for metric in ("nll", "class_wise_ece", "auroc/entropy")
    ]
    shown, left_out = main_rows(rows)
    assert {row["dataset"] for row in shown} == {"x", "x vs y"}
    assert {row["metric"] for row in shown} == {"nll", "auroc/entropy"}
    assert left_out == 5
    shown, left_out = main_rows(rows[6:9])
    assert len(shown) == 2
    assert left_out == 0


@pytest.mark.parametrize("name", ["fashion_mnis", "minst", "fashion_mnst_c/fog/3"])
def test_a_misspelled_data_set_is_told_before_anything_is_computed(name):
    loading.check_names(["fashion_mnist", "digits", "fashion_mnist_c/fog/3", "cifar10"])
    with pytest.raises(ValueError, match="Did you mean '(fashion_)?mnist'"):
        loading.check_names(["fashion_mnist", name])
