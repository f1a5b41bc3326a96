"""Forms of compressed networks, as the benchmark reads and evaluates them."""

import argparse

import pytest

from benchmarks import compress
from training.evaluation import command
from training.report.terminal import Outcome


@pytest.mark.parametrize(
    "text, message",
    [
        ("int8=resnet20", "a label, a model and its weights.*forms=int8=resnet20"),
        ("one=resnet20_mcdo:resnet20.cifar10", "not those of the model 'resnet20_mcdo"),
    ],
)
def test_forms_that_are_no_networks_are_errors(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        compress.exported(text, [], None, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_forms_get_the_means_of_their_own_files(tmp_path, monkeypatch):
    asked = []

    def run(settings):
        asked.append((list(settings.dataset), list(settings.ood), settings.limit))
        rows = []
        for model, share in (("a.tflite", 1.0), ("b.tflite", 0.5)):
            sets = {"cifar10": 0.9, "cifar10 vs noise": 0.7}
            if settings.dataset == ["cifar10_c/*/*"]:
                sets = {"cifar10_c/fog/1": 0.5, "cifar10_c/frost/5": 0.25}
            elif not settings.ood:
                sets = {"cifar10": 0.8}
            for dataset, value in sets.items():
                metrics = ("accuracy", "nll", "ece")
                metrics = ("auroc/entropy",) if " vs " in dataset else metrics
                common = {"model": model, "dataset": dataset, "num_samples": 1}
                rows += [
                    {**common, "metric": name, "value": share * value}
                    for name in metrics
                ]
        return Outcome(rows, [])

    monkeypatch.setattr(command, "run", run)
    forms = [
        compress.Form(name, tmp_path / f"{name}.tflite", 1, {}) for name in ("a", "b")
    ]
    flags = argparse.Namespace(
        dataset="cifar10",
        data_dir=None,
        limit=10_000,
        corrupted_limit=250,
        ood=["noise"],
        ood_limit=2000,
    )
    compress.evaluate(forms, tmp_path, flags)
    assert asked == [(["cifar10_c/*/*"], [], 250), (["cifar10"], ["noise"], 2000)] + [
        (["cifar10"], [], 10_000)
    ]
    headings = ["Accuracy (%), corrupted", "NLL (nats), corrupted"]
    headings += ["ECE (%), corrupted", "AUROC, noise (%)"]
    cells = [["37.50", "0.3750", "37.50", "70.00"]]
    cells += [["18.75", "0.1875", "18.75", "35.00"]]
    for form, own in zip(forms, cells, strict=True):
        assert form.more == dict(zip(headings, own, strict=True))
        assert list(form.more) == headings
    assert [form.metrics for form in forms] == [(0.8,) * 3, (0.4,) * 3]
    forms[0].more, flags.corrupted_limit = {}, 0
    compress.evaluate(forms[:1], tmp_path, flags)
    assert forms[0].more == {"AUROC, noise (%)": "70.00"}
