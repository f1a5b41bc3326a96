import keras
import numpy as np
import pytest

import layers
import zoo
from tests.helpers.data_sets import Data, Slices
from tests.helpers.networks import IMAGES, as_numpy, mc_network, network
from training import metrics
from training.attacks import attacked
from training.data.image_data import ImageData
from training.data.number_data import NumberData
from training.evaluation import evaluate, predictions, scaling, sweep
from training.evaluation import ood as detect
from training.evaluation.sampling import Passes, check_precision
from zoo import predictive
from zoo.posterior import (
    POSTERIORS,
    DeepEnsemble,
    Density,
    Laplace,
    MonteCarlo,
    Temperature,
)

OTHER = np.random.default_rng(1).integers(0, 256, size=(5, 8, 8, 1)).astype("uint8")


class Counting(Slices):
    """Images that count how often each of them is read by a model."""

    def __init__(self, images):
        super().__init__(images)
        self.reads = np.zeros(len(images), int)

    def fingerprint(self):
        return str(self.stored.sum())

    def __getitem__(self, index):
        self.reads[index] += 1
        return super().__getitem__(index)


def other(name="other"):
    return Data(OTHER, np.zeros(5, int), ("nothing",), name)


def by_key(rows):
    return {
        (r["model"], r["dataset"], r["num_samples"], r["metric"]): r["value"]
        for r in rows
    }


def test_each_image_is_passed_once_per_model_and_then_never_again(tmp_path):
    images, unlike = Counting(IMAGES), Counting(OTHER)
    clean = Data(images)
    ood = Data(unlike, np.zeros(5, int), ("nothing",), "other")
    models = {"a": mc_network(), "b": network()}
    arguments = models, [clean, Data(name="twin")], tmp_path, (1, 3), 0, 3
    first = sweep.evaluate_all(*arguments, ood=[ood])
    # The first images of a set are looked at to see whether a model draws.
    assert images.reads[-1] == 2
    assert max(images.reads.max(), unlike.reads.max()) <= 4
    again = sweep.evaluate_all(*arguments, ood=[ood])
    assert str(again) == str(first)  # NaN is not equal to itself.
    assert images.reads[-1] == 2
    found = by_key(first)
    expected = evaluate.evaluate(models["a"], Data(), (1, 3), progress=False)
    for row in expected:
        key = "a", "twin", row["num_samples"], row["metric"]
        assert found[key] == pytest.approx(row["value"], abs=1e-5, nan_ok=True)
    assert ("b", "made_up vs other", 3, "auroc/energy") in found
    # The samples of a deterministic model agree.
    assert ("b", "made_up vs other", 3, "auroc/mutual_information") not in found
    assert ("a", "made_up vs other", 3, "auroc/mutual_information") in found
    assert ("a", "made_up vs other", 1, "auroc/mutual_information") not in found


def test_detection_compares_the_scores_of_both_sets(tmp_path):
    passes = Passes(mc_network(), (1, 4), batch_size=4)
    inside = predictions.store(passes, Data(), tmp_path / "in")
    outside = predictions.store(passes, other(), tmp_path / "out")
    found = {(r["num_samples"], r["metric"]): r for r in detect.rows(inside, outside)}
    scores = [p.energy[1] for p in (inside, outside)]
    # All pairs, by the definition.
    pairs = np.subtract.outer(scores[1], scores[0])
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    row = found[4, "auroc/energy"]
    assert row["value"] == pytest.approx(expected)
    assert row["num_examples"] == 12
    assert row["dataset"] == "made_up vs other"
    information = [p.mutual_information[1] for p in (inside, outside)]
    value = found[4, "fpr_95/mutual_information"]["value"]
    assert value == metrics.fpr_95(*information)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_rows_say_a_precision_that_is_reduced(tmp_path, precision):
    rows = sweep.evaluate_all(
        {"m": network()}, [Data()], tmp_path, (1,), ood=[other()], precision=precision
    )
    assert {row["dataset"] for row in rows} == {"made_up", "made_up vs other"}
    said = {row.get("precision") for row in rows}
    assert said == {None if precision == "float32" else precision}


def test_an_ensemble_is_evaluated_at_the_sizes_that_it_has(tmp_path):
    ensemble = DeepEnsemble([network(seed=n) for n in range(3)])
    rows = sweep.evaluate_all({"three": ensemble}, [Data()], tmp_path, (1, 2, 5, 10))
    assert sorted({row["num_samples"] for row in rows}) == [1, 2, 3]


@pytest.mark.parametrize("size", [1, 4])
def test_scaled_predictions_are_those_of_the_posterior(tmp_path, size):
    model = mc_network()
    passes = Passes(MonteCarlo(model, size), (size,), seed=3)
    stored = predictions.store(passes, Data(), tmp_path / "plain")
    posterior = Temperature(MonteCarlo(model, size), 2.5)
    by = {size: {"temperature": 2.5}}
    scaled = scaling.scale(posterior, stored, by, "scaled", tmp_path / "scaled")
    made = Passes(posterior, (1,), seed=3)
    direct = predictions.store(made, Data(), tmp_path / "direct")
    for name in ("probs", "energy", "max_logit", "mutual_information"):
        np.testing.assert_allclose(
            getattr(scaled, name), getattr(direct, name), atol=3e-5, err_msg=name
        )
    assert scaled.meta["model"] == "scaled"
    assert scaled.meta["learned"] == [{"temperature": 2.5}]


def test_a_temperature_is_fitted_to_the_calibration_images_alone(tmp_path):
    model = network()
    calibration = Data(IMAGES[::-1], np.array([2, 2, 0, 1, 0, 0, 1]), name="held_out")
    models = {"m": model, "m@temperature": Temperature(model)}
    rows = sweep.evaluate_all(
        models, [Data()], tmp_path, (1,), ood=[other()], calibration=calibration
    )
    posterior = Temperature(model)
    posterior.adapt(calibration.images, calibration.labels)
    expected = evaluate.evaluate(posterior, Data(), (1,), progress=False)
    found = by_key(rows)
    for row in expected:
        value = found["m@temperature", "made_up", 1, row["metric"]]
        assert value == pytest.approx(row["value"], abs=1e-4, nan_ok=True)
    assert (
        found["m", "made_up", 1, "nll"] != found["m@temperature", "made_up", 1, "nll"]
    )
    assert ("m@temperature", "made_up vs other", 1, "auroc/entropy") in found
    assert not any(row["dataset"] == "held_out" for row in rows)


def test_each_posterior_adapts_to_the_split_that_it_is_for(tmp_path):
    model = network()
    train = Data(IMAGES // 2, np.array([0, 1, 2, 0, 1, 2, 0]), name="train")
    held_out = Data(IMAGES[::-1], np.array([2, 2, 0, 1, 0, 0, 1]), name="held_out")
    models = {"m@laplace": Laplace(model), "m@temperature": Temperature(model)}
    options = models, [Data()], tmp_path, (1,)
    with pytest.raises(ValueError, match="'m@laplace' has not.*Received: train=None"):
        sweep.evaluate_all(*options, calibration=held_out)
    rows = sweep.evaluate_all(*options, calibration=held_out, train=train)
    fitted, scaled = Laplace(model), Temperature(model)
    fitted.adapt(train.images, train.labels)
    scaled.adapt(held_out.images, held_out.labels)
    found = by_key(rows)
    for name, posterior in (("m@laplace", fitted), ("m@temperature", scaled)):
        nll = found[name, "made_up", 1, "nll"]
        probs = np.asarray(predictive.probs(posterior(IMAGES)))
        assert nll == pytest.approx(metrics.nll(probs, Data().labels), abs=1e-4)


def test_a_model_without_half_precision_is_refused_before_anything_is_passed(tmp_path):
    images = Counting(IMAGES)
    train, data = Data(images, name="train"), Data(images)
    start = keras.Input((8, 8, 1))
    dense = keras.layers.Dense(3)(keras.layers.Flatten()(start))
    dense = keras.Model(start, dense, name="dense")
    ensemble = DeepEnsemble([network(), dense])
    for refused, reason in (
        (Laplace(network(), subset="all"), "'second' computes gradients"),
        (Temperature(ensemble), "'second' is.*'dense' has no layers"),
        (MonteCarlo(dense, 1), "'second' is.*'dense' has no layers"),
    ):
        models = {"first": network(), "second": refused}
        with pytest.raises(ValueError, match=f"{reason}.*precision=bfloat16"):
            sweep.evaluate_all(
                models, [data], tmp_path, (1,), train=train, precision="bfloat16"
            )
    assert not images.reads.any()
    assert not any(tmp_path.iterdir())
    members = [network(), network()]
    for kind, posterior in POSTERIORS.items():  # Before they adapt.
        if "classification" not in posterior.tasks:
            continue
        models = members[: 2 if kind in ("ensemble", "mixture") else 1]
        check_precision(posterior.from_models(models), "m", "bfloat16")


def test_a_regressor_is_not_asked_for_what_is_of_classes(tmp_path):
    model = zoo.build("mlp50", (3,), target=(0.0, 1.0))
    rng = np.random.default_rng(0)
    numbers = NumberData("numbers", rng.normal(size=(6, 3)), rng.normal(size=6))
    attack = attacked.named("fgsm", ["8/255"])
    for asked, words in (
        ({"ood": [numbers]}, "ood"),
        ({"attacks": attack}, "attack"),
        ({"decide": ["lac_90"], "calibration": numbers}, "decide"),
    ):
        with pytest.raises(ValueError, match=f"'m' predicts numbers.*: {words}$"):
            sweep.evaluate_all({"m": model}, [numbers], tmp_path, (1,), **asked)
    assert not any(tmp_path.iterdir())
    rows = sweep.evaluate_all({"m": model}, [numbers], tmp_path, (1,))
    assert "rmse" in {row["metric"] for row in rows}


def test_scores_of_a_posterior_are_ranked_by_their_names(tmp_path):
    model, rng = network(), np.random.default_rng(2)
    pixels = rng.integers(0, 256, (60, 8, 8, 1)).astype("uint8")
    train = Data(pixels, np.arange(60) % 3, name="train")
    posterior = Density(model, ["density", "nearest_neighbors"])
    rows = sweep.evaluate_all(
        {"m": posterior}, [Data()], tmp_path, (1, 3), 0, 2, [other()], train=train
    )
    found = by_key(rows)
    (logits, inside), (_, outside) = (posterior.scored(x) for x in (IMAGES, OTHER))
    for name in posterior.score_names:
        expected = metrics.auroc(as_numpy(inside[name]), as_numpy(outside[name]))
        for size in (1, 3):
            key = "m", "made_up vs other", size, f"auroc/{name}"
            assert found[key] == pytest.approx(expected)
    nll = metrics.nll(as_numpy(predictive.probs(logits)), Data().labels)
    assert found["m", "made_up", 3, "nll"] == pytest.approx(nll, abs=1e-5)


def test_models_are_ranked_by_their_own_scores(tmp_path):
    images = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    keras.utils.set_random_seed(0)
    kernels = keras.Model(images, layers.ClassCentroids(3, length_scale=1.0)(x))
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (60, 8, 8, 1)).astype("uint8")
    labels = np.arange(60) % 3
    density = Density(network(), ["density"])
    density.adapt(pixels, labels)
    models = {"plain": network(), "kernels": kernels, "density": density}
    models["kernels@temperature"] = scaled = Temperature(kernels)
    scaled.assign({"temperature": 2.0})
    test = Data(pixels[::-1], rng.integers(0, 3, 60))
    settings = [test], tmp_path, (1, 2)
    rows = sweep.evaluate_all(models, *settings, ranked=True)
    found = by_key([row for row in rows if row["metric"].startswith("raulc/")])
    logits = as_numpy(kernels(test.images))
    mean = as_numpy(keras.ops.softmax(models["plain"](test.images)))
    scores = {
        "plain": (mean, "entropy", -(mean * np.log(mean)).sum(axis=1)),
        "kernels": (np.exp(logits), "max_logit", -np.exp(logits).max(axis=1)),
        "density": (mean, "density", density.scored(test.images)[1]["density"]),
    }
    for name, (probs, by, score) in scores.items():
        right = probs / probs.sum(axis=1, keepdims=True)
        expected = metrics.raulc(right, test.labels, as_numpy(score))
        for size in (1, 2):
            value = found.pop((name, "made_up", size, f"raulc/{by}"))
            assert value == pytest.approx(expected, abs=1e-3)
    assert {key[0::3] for key in found} == {("kernels@temperature", "raulc/entropy")}
    without = sweep.evaluate_all(models, *settings)
    assert not [row for row in without if row["metric"].startswith("raulc/")]


def test_stored_predictions_of_another_form_do_not_count(tmp_path):
    posteriors = [Laplace(network(), "full", form) for form in ("probit", "bridge")]
    values = []
    for posterior in posteriors:
        posterior.adapt(IMAGES, Data().labels)
        rows = sweep.evaluate_all({"m": posterior}, [Data()], tmp_path, (1,))
        values.append(by_key(rows)["m", "made_up", 1, "nll"])
    assert values[0] != values[1]


def test_a_model_without_a_best_temperature_is_evaluated_as_it_is(tmp_path):
    model = network()
    right = model.predict(IMAGES, verbose=0).argmax(axis=1)
    calibration = Data(IMAGES[::-1], right[::-1], name="held_out")
    scaled, left_out = {"m@temperature": Temperature(model)}, []
    options = [Data()], tmp_path, (1,)
    known = {"calibration": calibration, "left_out": left_out}
    rows = sweep.evaluate_all({"m": model, **scaled}, *options, **known)
    assert {row["model"] for row in rows} == {"m"}
    (line,) = left_out
    assert line.startswith("m@temperature: No temperature is the best")
    with pytest.raises(ValueError, match="No model is left.*No temperature"):
        sweep.evaluate_all(scaled, *options, **known)
    with pytest.raises(ValueError, match="'m@temperature' has not learned.*=None"):
        sweep.evaluate_all(scaled, *options)


def test_scalers_take_no_passes_beside_those_of_their_model(tmp_path, monkeypatch):
    batches, passed = Passes.batches, []

    def counted(self, images, start=0):
        for first, values in batches(self, images, start):
            passed.append((self.name, self.sizes, values["probs"].shape[1]))
            yield first, values

    monkeypatch.setattr(Passes, "batches", counted)
    calibration = Data(IMAGES[::-1], np.array([2, 2, 0, 1, 0, 0, 1]), name="held_out")
    model = mc_network()
    models = {
        "m@temperature": Temperature.from_models([model], 4),
        "m": model,
        "again@temperature": Temperature.from_models([mc_network(name="other")], 2),
        "fixed@temperature": Temperature(MonteCarlo(model, 3), 2.5),
    }
    rows = sweep.evaluate_all(
        models, [Data()], tmp_path, (1, 2, 4), calibration=calibration
    )
    assert passed == [
        *(("m", (1, 2, 4), 7), ("again", (1, 2), 7)),
        *(("m", (1, 2, 4), 7), ("again", (1, 2), 7), ("fixed", (3,), 7)),
    ]
    found = by_key(rows)
    sizes = {"m": (1, 2, 4), "m@temperature": (1, 2, 4), "again@temperature": (1, 2)}
    sizes |= {"fixed@temperature": (3,)}
    asked = {(n, size) for n, of in sizes.items() for size in of}
    assert {(name, size) for name, _, size, _ in found} == asked
    expected = Temperature(MonteCarlo(model, 3), 2.5).predict(IMAGES, seed=0)
    probs = predictions.load(tmp_path / "fixed@temperature" / "made_up").probs
    expected = as_numpy(predictive.probs(expected))
    np.testing.assert_allclose(probs[0], expected, atol=3e-5)


def test_a_scaler_of_other_weights_has_passes_of_its_own(tmp_path):
    models = {"m": network(), "m@temperature": Temperature(network(), 2.0)}
    models["m"].layers[-1].bias.assign([3.0, 0.0, 0.0])
    rows = by_key(sweep.evaluate_all(models, [Data()], tmp_path, (1,)))
    direct = evaluate.evaluate(models["m@temperature"], Data(), (1,), progress=False)
    for row in direct:
        value = rows["m@temperature", "made_up", 1, row["metric"]]
        assert value == pytest.approx(row["value"], abs=1e-4, nan_ok=True)


def test_a_model_that_gives_nan_is_named_with_the_first_image(tmp_path):
    broken = network()
    broken.layers[-1].bias.assign([np.nan, 0, 0])
    with pytest.raises(ValueError, match="'broken' gives NaN or infinity in 4 of 4"):
        sweep.evaluate_all({"broken": broken}, [Data()], tmp_path, (1,), batch_size=4)


def test_labels_of_other_data_do_not_matter_but_their_images_do(tmp_path):
    ood = Data(OTHER[:, 1:], np.zeros(5, int), ("nothing",), "other")
    with pytest.raises(ValueError, match=r"dataset=other with images of shape"):
        sweep.evaluate_all({"m": network()}, [Data()], tmp_path, (1,), ood=[ood])
    with pytest.raises(ValueError, match="knows 3 classes.*dataset=other with 1"):
        sweep.evaluate_all({"m": network()}, [other()], tmp_path, (1,))


def test_sets_of_sequences_have_the_consistency_of_their_frames(tmp_path):
    labels, classes = np.zeros(6, int), ("a", "b", "c")
    sequences = ImageData("made_up_p/none", IMAGES[:6], labels, classes, frames=3)
    model = mc_network()
    rows = sweep.evaluate_all({"a": model}, [sequences], tmp_path, (4,))
    found = {row["metric"]: row["value"] for row in rows}
    (probs,) = evaluate.predict(MonteCarlo(model, 4), IMAGES[:6], (4,))
    pairs = [(0, 1), (1, 2), (3, 4), (4, 5)]  # No pair of two sequences.
    same = [probs[i].argmax() == probs[j].argmax() for i, j in pairs]
    cross = [-np.sum(probs[i] * np.log(probs[j])) for i, j in pairs]
    assert found["consistency"] == pytest.approx(np.mean(same))
    assert found["cec"] == pytest.approx(np.mean(cross), rel=1e-4)
    images = ImageData("made_up", IMAGES[:6], labels, classes)
    (other,) = (
        {r["metric"] for r in rows}
        - set(metrics.CLASSIFICATION)
        - {*("consistency", "cec")}
    )
    assert other == "flip_rate"
    plain = sweep.evaluate_all({"a": model}, [images], tmp_path, (4,))
    assert {row["metric"] for row in plain} == set(metrics.CLASSIFICATION)
