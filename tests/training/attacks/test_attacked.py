"""Attacks of evaluations: what flags mean, stored predictions, rows and reports."""

import contextlib
import dataclasses
import json
import re

import keras
import numpy as np
import pytest
from keras import ops

from tests.helpers import reports
from tests.helpers.data_sets import Interrupting, stripes
from tests.helpers.networks import as_numpy
from tests.helpers.trainings import dense_model, without_time
from training.attacks import attacked, balls, pgd
from training.attacks.pgd import check_sizes
from training.evaluation import command, sweep
from training.report import curves, figures, page, result_set
from zoo.posterior import MonteCarlo

DATA = stripes(20)
ATTACKS = attacked.named("pgd", ["2/255", "60/255"], steps=3, draws=2)


def test_flags_are_radii_of_gray_levels():
    least, most = attacked.named("pgd", ["8/255", "0.0078431"], "linf", 10)
    assert [least.epsilon, most.epsilon] == [2, 8]
    assert [most.step_size, most.steps, most.draws] == [2, 10, 10]
    (fgsm,) = attacked.named("fgsm", ["16/255"], step_size="20/255")
    assert [fgsm.epsilon, fgsm.step_size, fgsm.steps] == [16, 20, 1]
    (euclid,) = attacked.named("pgd", ["0.5"], "l2")
    assert euclid.dataset == "_pgd/l2/127.5"
    for given, message in (
        ({"epsilon": ["8"]}, r"\[0, 1\]; write 8/255 for 8 gray levels.*epsilon=8"),
        ({"epsilon": ["0.00003"]}, "changes no pixel.*epsilon"),
        ({"epsilon": ["8/0"]}, "epsilon=8/0"),
        ({"epsilon": ["-1/255"]}, "such as 8/255 or 0.03.*epsilon=-1/255"),
        ({"epsilon": ["x"]}, "such as 8/255 or 0.03.*epsilon=x"),
        ({"epsilon": []}, "needs a radius"),
        ({"epsilon": ["8/255"], "step_size": "2"}, "write 2/255 for 2 gray levels"),
        ({"epsilon": ["8/255"], "name": "fgsm", "steps": 3}, "FGSM is one step"),
        ({"epsilon": ["8/255"], "name": "cw"}, "`attack` must be one of fgsm, pgd"),
    ):
        with pytest.raises(ValueError, match=message):
            attacked.named(**{"name": "pgd", **given})
    # Of larger images a Euclidean radius that is common is longer, in either unit.
    ball = balls.named("l2")
    for side, radius, is_fine in (
        *((32, 128, True), (32, 16, True), (32, 16 * 255, False), (32, 4.9, False)),
        *((224, 3 * 255, True), (224, 128 * 255, False), (224, 5.0, False)),
    ):
        expected = pytest.raises(ValueError, match=f"gray levels.*epsilon={radius}")
        with contextlib.nullcontext() if is_fine else expected:
            check_sizes(ball, radius, radius, 1, (side, side, 3))
    for given in ({"epsilon": ["8/255"]}, {"attack_norm": "l2"}, {"restarts": 2}):
        settings = command.Settings(["m"], "out", **given)
        with pytest.raises(ValueError, match="are for an attack.*attack=None"):
            command._attacks(settings)
    assert command._attacks(command.Settings(["m"], "out")) == []
    with pytest.raises(ValueError, match="name a clean data set"):
        command._check_attacked(ATTACKS, ["d_c/fog/3"])


def run(folder, reads=100):
    """Returns rows of an evaluation, and how often images were read."""
    images = Interrupting(DATA.images, reads)
    data = dataclasses.replace(DATA, images=images)
    models = {"random": dense_model()}
    rows = sweep.evaluate_all(models, [data], folder, (3,), 5, 8, attacks=ATTACKS)
    return rows, reads - images.reads


def test_an_evaluation_attacks_each_model(tmp_path):
    rows, _ = run(tmp_path)
    names = ["stripes", "stripes_pgd/linf/2", "stripes_pgd/linf/60"]
    assert list(dict.fromkeys(row["dataset"] for row in rows)) == names
    accuracies = [row["value"] for row in rows if row["metric"] == "accuracy"]
    assert accuracies[0] > accuracies[2]
    row = next(r for r in rows if r["dataset"] == names[1])
    expected = {"attack": "pgd", "attack_norm": "linf", "epsilon": 2, "steps": 3}
    assert row.items() >= {**expected, "restarts": 1, "draws": 2}.items()
    assert "attack" not in rows[0]
    # By hand: the attack does not know the draws that it is judged by.
    posterior = MonteCarlo(dense_model(), 3)
    sizes = ATTACKS[1].epsilon, ATTACKS[1].step_size, 3
    seed = 5 ^ attacked._SEED
    images = pgd(posterior, DATA.images, DATA.labels, *sizes, draws=2, seed=seed)
    probs = ops.mean(ops.softmax(posterior(images, seed=5)), axis=0)
    right = as_numpy(ops.argmax(probs, axis=-1)) == DATA.labels
    assert accuracies[2] == pytest.approx(right.mean(), abs=0.051)
    # In whatever slices they are read.
    (made,) = attacked.attacked(DATA, posterior, ATTACKS[1:], 8, seed=5)
    np.testing.assert_allclose(made.images[:20], as_numpy(images), atol=1e-3)
    np.testing.assert_array_equal(made.images[3:9], made.images[:20][3:9])
    # What is the same but for the draws of each model has one name in tables.
    plain = MonteCarlo(dense_model(rate=0.0), 1)
    plain.repeats_itself = True
    (other,) = attacked.attacked(DATA, plain, ATTACKS[1:], 8)
    assert [m.images.attack.draws for m in (made, other)] == [2, 1]
    assert made.images.fingerprint() == other.images.fingerprint()


@pytest.mark.slow
def test_an_evaluation_that_was_killed_goes_on_where_it_was(tmp_path):
    whole, all_reads = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", reads=all_reads // 2)
    again, reads = run(tmp_path / "killed")
    assert 0 < reads < all_reads - 2
    assert str(without_time(again)) == str(without_time(whole))
    assert run(tmp_path / "killed")[1] == 0


def test_models_without_gradients_are_refused_before_they_are_passed(tmp_path):
    images = keras.Input((12, 12, 1))
    x = keras.layers.Flatten()(keras.ops.cast(images, "int32"))
    model = keras.Model(
        images, keras.layers.Dense(2)(keras.ops.cast(x, "float32")), name="cast"
    )
    with pytest.raises(ValueError, match="has no gradients by its images"):
        sweep.evaluate_all({"cast": model}, [DATA], tmp_path, (1,), attacks=ATTACKS)
    assert not [*tmp_path.rglob("meta.json")]


def test_the_report_draws_metrics_against_the_radius(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(figures, "data_uri", lambda f: kept.append(f) or "data:,")
    settings = {"attack": "pgd", "attack_norm": "linf", "steps": 20, "restarts": 1}
    rows = [reports.row(metric="accuracy", value=0.9)]
    for epsilon, value in ((8, 0.1), (2, 0.5)):
        name = f"fashion_mnist_pgd/linf/{epsilon}"
        changes = {"dataset": name, "epsilon": epsilon, "draws": 10, **settings}
        rows.append(reports.row(metric="accuracy", value=value, **changes))
    (chart,) = curves.attack(result_set.Results(rows), "pgd linf", "fashion_mnist")
    (line,) = kept[0].axes[0].get_lines()
    np.testing.assert_allclose(line.get_data(), [[0, 2, 8], [90, 50, 10]])
    assert "90.00 at radius 0, 10.00 at radius 8" in chart.alt
    page.html(rows, None, tmp_path / "report.html", command="zoo-evaluate")
    text = (tmp_path / "report.html").read_text()
    section = text.partition('id="attacks"')[2].partition("</section>")[0]
    assert "fashion_mnist, PGD in linf, 20 steps, 1 start, 10 draws" in section
    assert re.search(r"fashion_mnist_pgd/.*linf/.*8", text)
    assert json.dumps(rows[1])
