"""Regressors from a file to a report."""

import dataclasses
import gzip
import io
import math

import keras
import numpy as np
import pytest
from keras import ops

import zoo
from layers import compilation
from training import data, metrics, number_losses, objectives, trainer
from training.data import functions, loading, number_data
from training.data.number_data import NumberData
from training.data.readers import number_files
from training.evaluation import evaluate
from training.objectives import nomu
from training.recipes.regression import RECIPE
from training.regressor import Regressor, _Program
from training.run import run_training

RNG = np.random.default_rng(0)


@pytest.fixture
def table(tmp_path):
    """A file of 60 houses."""
    rows = RNG.normal(size=(60, 3))
    rows[:, 2] = 100 + 20 * rows[:, 0] + RNG.normal(size=60)
    path = tmp_path / "houses.csv"
    lines = ["size,age,price", *(",".join(map(str, row)) for row in rows.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_has_features_and_the_column_that_is_named(table):
    train, test = (data.load(str(table), s, holdout=0) for s in ("train", "test"))
    assert (len(train), len(test)) == (54, 6)
    assert train.columns == ("size", "age")
    whole = number_files.load(f"{table}#age", "all")
    assert whole.columns == ("size", "price")
    assert abs(whole.labels.mean()) < 1 < train.labels.mean()
    rows = {tuple(row) for row in np.concatenate([train.images, test.images])}
    assert len(rows) == 60
    held_out = data.load(str(table), "validation")
    assert len(held_out) == 5
    assert not rows.isdisjoint(map(tuple, held_out.images))


def test_arrays_have_their_own_test_set(tmp_path):
    path = tmp_path / "n.npz"
    x, y = RNG.normal(size=(20, 2)), RNG.normal(size=20)
    np.savez(path, features=x, targets=y, test_features=x[:3], test_targets=y[:3])
    assert len(data.load(str(path), "train", holdout=0)) == 20
    np.testing.assert_array_equal(data.load(str(path), "test").labels, y[:3])


def _write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text, name, message",
    [
        ("a,b\n1,2\n3,nan\n", "", "Row 2 of .* finite number in column 'b'.*'nan'"),
        ("a,b\n1,2\n,4\n", "", "Row 2 of .* in column 'a'.*Received: ''"),
        ("a,b\n1,2\n3\n", "", "Row 2 of .* has 1 values for 2 columns"),
        ("a,b\n1,2\n", "#c", "has no column 'c' to predict. Known: a, b."),
        ("1,2\n3,4\n", "", "first line of .* names of the columns"),
        ("a\n1\n", "", "a feature and a target at least"),
        ("", "", "is empty"),
        ("a,b\n1,2\n3,4\n", "", "one in 10 is for testing"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(
    tmp_path, text, name, message
):
    path = _write(tmp_path / "d.csv", text)
    with pytest.raises(ValueError, match=message):
        data.load(f"{path}{name}", "train")


def test_files_and_columns_that_are_missing_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        data.load(str(tmp_path / "none.csv"), "train")
    with pytest.raises(FileNotFoundError, match="no file"):
        loading.check_names([str(tmp_path / "none.csv#a")])
    np.savez(tmp_path / "n.npz", features=np.zeros((20, 1)))
    with pytest.raises(ValueError, match="an array `target`. Known: features"):
        data.load(str(tmp_path / "n.npz"), "train")


def test_files_that_are_damaged_are_named(tmp_path):
    text = "a,y\n" + "".join(f"{n},{n * n % 97}\n" for n in range(200))
    arrays = io.BytesIO()
    np.savez(arrays, features=np.zeros((200, 2)), targets=np.arange(200.0))
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    packed, contents = gzip.compress(text.encode()), arrays.getvalue()
    changed = contents.replace(b"\0" * 64, b"\1" * 64, 1)
    for name, content, message in (
        ("cut.csv.gz", packed[:-100], "cannot be read: Compressed file ended"),
        ("plain.csv.gz", text.encode(), "cannot be read: Not a gzipped file"),
        ("latin.csv", "gr\xf6\xdfe,y\n1,2\n".encode("latin-1"), "cannot be read: 'utf"),
        ("old.csv", text.replace("\n", "\r").encode(), "cannot be read: new-line char"),
        ("cut.npz", contents[: len(contents) // 2], "is no .npz file, or is cut off"),
        ("one.npz", single.getvalue(), "is no .npz file, or is cut off"),
        ("none.npz", b"", "is no .npz file, or is cut off"),
        ("odd.npz", changed, "cannot be read: Bad CRC-32"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}' {message}"):
            number_files.load(str(tmp_path / name), "train")


@pytest.mark.parametrize(
    "features, targets, message",
    [
        (np.zeros((3, 2)), [0, np.inf, 0], "in 1 of 3 examples, the first .* number 1"),
        (np.full((3, 2), np.nan), np.zeros(3), "features of data set 'd'.*in 3 of 3"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "train a model each.*\\(3, 2\\)"),
        (np.zeros((3, 2)), np.zeros(4), "3 examples, 4 targets"),
        (np.zeros((3, 2)), ["a", "b", "c"], "must be real numbers"),
    ],
)
def test_numbers_that_are_not_finite_are_errors(features, targets, message):
    with pytest.raises(ValueError, match=message):
        NumberData("d", features, targets)


def test_functions_of_the_paper_stay_in_their_range():
    points = np.linspace(-1, 1, 2001)
    for name, function in functions.OF_ONE.items():
        values = function(points)
        assert -1.02 < values.min() < -0.9, name
        assert 0.9 < values.max() < 1.02, name
    grid = np.meshgrid(points[::20], points[::20])
    for name, function in functions.OF_TWO.items():
        values = function(*grid)
        assert -1.001 < values.min() < -0.9, name
        assert 0.95 < values.max() < 1.001, name
    np.testing.assert_allclose(functions.branin(np.pi, 2.275), 0.397887, atol=1e-6)


def _nomu(**settings):
    keras.utils.set_random_seed(1)
    model = zoo.build("mlp50_nomu", (2,), target=(3.0, 2.0))
    recipe = dataclasses.replace(RECIPE, objective="nomu")
    made = objectives.OBJECTIVES["nomu"](model, recipe, **settings)
    trained = trainer.compile_model(model, recipe, 64)
    return model, made, trained


def test_the_loss_of_nomu_is_the_published_sum_over_the_batch():
    model, made, trained = _nomu(stable=False)
    x = RNG.normal(size=(5, 2)).astype("float32")
    y = RNG.normal(size=5).astype("float32")
    # Points in one place, where the uncertainty is known.
    made.adapt(NumberData("d", np.full((4, 2), 0.5), np.zeros(4)), None)
    losses = np.asarray(made.training_loss(trained, x, y, trained(x)))
    body = keras.Model(model.input, model.layers[-1].input)
    mean, raw = np.asarray(body(x), "float64").T
    pushed = math.exp(-30 * float(body(np.full((1, 2), 0.5))[0, 1]))
    expected = (mean - (y - 3) / 2) ** 2 + 0.1 * raw**2 + 0.01 / 5 * pushed
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    _, without, trained = _nomu(points=0, stable=False)
    losses = np.asarray(without.training_loss(trained, x, y, trained(x)))
    np.testing.assert_allclose(losses, expected - 0.002 * pushed, rtol=1e-3, atol=1e-5)


def test_the_stable_loss_is_the_other_one_near_zero_and_a_line_far_off():
    raw = np.array([0.0, 0.4, 0.99], "float32")
    for stable in (True, False):
        np.testing.assert_allclose(nomu.square(raw, stable), raw**2, rtol=1e-6)
        found = nomu.exponential(raw, 30.0, stable)
        np.testing.assert_allclose(found, np.exp(-30 * raw), rtol=1e-4)
    np.testing.assert_allclose(nomu.square(np.float32([-3, 4]), True), [5, 7])
    found = nomu.exponential(np.float32([-2]), 30.0, True)
    np.testing.assert_allclose(found, [1 + 60 + 4])


def test_points_are_in_the_range_of_the_training_and_a_margin():
    _, made, _ = _nomu(margin=0.1)
    features = np.array([[0.0, 10.0], [1.0, 30.0], [0.5, 20.0]])
    made.adapt(NumberData("d", features, np.zeros(3)), None)
    low, high = (np.asarray(v) for v in made.variables[1:])
    np.testing.assert_allclose(low, [-0.1, 8])
    np.testing.assert_allclose(high, [1.1, 32])


def test_losses_of_numbers_are_those_of_the_metrics():
    targets = RNG.normal(size=50).astype("float32")
    means, scales = RNG.normal(size=50), RNG.uniform(0.2, 2, 50)
    predicted = np.stack([means, scales], axis=1).astype("float32")
    found = np.mean(number_losses.nll(targets, predicted))
    expected = metrics.REGRESSION["gaussian_nll"](means, scales, targets)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    levels = (np.arange(400) + 0.5) / 400
    loss = number_losses.QuantileLoss(levels.tolist())
    pinball = 2 * np.mean(loss.call(targets, predicted))
    crps = metrics.REGRESSION["crps"](means, scales, targets)
    np.testing.assert_allclose(pinball, crps, rtol=1e-3)
    rmse = number_losses.RootMeanSquaredError()
    rmse.update_state(targets, predicted)
    expected = metrics.REGRESSION["rmse"](means, scales, targets)
    np.testing.assert_allclose(float(rmse.result()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "model, objective, message",
    [
        (
            {"target": (0.0, 1.0)},
            "cross_entropy",
            "for classification and segmentation",
        ),
        ({"num_classes": 3}, "gaussian", "is for regressors"),
        ({"target": (0.0, 1.0)}, "nomu", "networks with a raw uncertainty"),
        ({"target": (0.0, 1.0)}, "quantile:levels=[0.5,1.5]", "must be probabilities"),
        ({"target": (0.0, 1.0)}, "gaussian:beta=2", "power of the variance.*beta=2"),
    ],
)
def test_objectives_and_models_of_other_tasks_are_errors(model, objective, message):
    made = zoo.build("mlp50", (2,), **model)
    recipe = dataclasses.replace(RECIPE, objective=objective)
    with pytest.raises(ValueError, match=message):
        trainer.compile_model(made, recipe, 64)
    if "num_classes" in model:
        recipe = dataclasses.replace(recipe, augmentations=("flip",))
        recipe = dataclasses.replace(recipe, objective="cross_entropy")
        with pytest.raises(ValueError, match="the model takes rows of numbers"):
            trainer.compile_model(made, recipe, 64)


def test_weights_of_classes_are_an_error():
    model = zoo.build("mlp50", (2,), target=(0.0, 1.0))
    recipe = dataclasses.replace(RECIPE, class_weights="median_frequency")
    with pytest.raises(ValueError, match="which have no classes to weigh"):
        trainer.compile_model(model, recipe, 64)


def test_data_of_another_task_is_an_error(tmp_path):
    images = data.load("digits", "train").take(40)
    classifier = zoo.build("mlp50", (2,), 10)
    numbers = NumberData("d", np.zeros((40, 2)), np.zeros(40))
    with pytest.raises(ValueError, match="takes rows of numbers of shape"):
        trainer.train(classifier, RECIPE, images, tmp_path)
    with pytest.raises(ValueError, match="has 10 classes, and data set 'd' has 0"):
        trainer.train(classifier, RECIPE, numbers, tmp_path)


def test_a_training_of_a_table_resumes_and_is_evaluated(table, tmp_path):
    given = {"dataset": f"{table}#price", "changes": ["batch_size=16"], "epochs": 2}
    row = run_training("mlp50_mcdo10", "regression", str(tmp_path / "w"), **given)
    assert {"val_nll", "val_rmse", "test_nll", "test_rmse"} <= row.keys()
    again = run_training("mlp50_mcdo10", "regression", str(tmp_path / "w"), **given)
    assert again["test_nll"] == pytest.approx(row["test_nll"], rel=1e-4)
    model = zoo.load("mlp50_mcdo10", weights=tmp_path / "w")
    test = data.load(f"{table}#price", "test")
    train = data.load(f"{table}#price", "train")
    np.testing.assert_allclose(
        model.get_layer("normalize").get_config()["mean"],
        train.images.mean(axis=0),
        rtol=1e-4,
    )
    mean, scale = model.knows()["target"]
    assert (mean, scale) == pytest.approx((train.labels.mean(), train.labels.std()))
    rows = evaluate.evaluate(model, test, num_samples=(1, 3), progress=False)
    found = {r["metric"]: r["value"] for r in rows if r["num_samples"] == 3}
    samples = zoo.posterior.MonteCarlo(model, 3, seed=0).predict(test.images, seed=0)
    pooled = ops.convert_to_numpy(zoo.predictive.gaussian(samples)).T
    for name, function in metrics.REGRESSION.items():
        assert found[name] == pytest.approx(function(*pooled, test.labels), rel=1e-4)
    digits = data.load("digits", "test")
    with pytest.raises(ValueError, match="takes images of shape .2,"):
        evaluate.evaluate(model, digits, progress=False)


def test_a_regressor_of_scikit_learn_learns_a_line():
    from sklearn import base

    x = np.linspace(-50, 50, 40)[:, None] + [[0.0, 100.0]]
    y = 1000 + 3 * x[:, 0]
    made = Regressor("mlp50", num_steps=300, calibration=0.2)
    assert base.is_regressor(made)
    fitted = base.clone(made).fit(x, y)
    means, scales = fitted.predict(x, return_std=True)
    assert np.sqrt(np.mean(np.square(means - y))) < 0.2 * y.std()
    assert (scales > 0).all()
    (found,) = np.asarray(fitted.to_model()(x))[None]
    np.testing.assert_allclose(found[:, 0], means, rtol=1e-4)
    # Another one has the same program, and not the weights.
    other = base.clone(made).set_params(seed=1).fit(x, y)
    assert np.any(other.predict(x) != means)
    np.testing.assert_allclose(fitted.predict(x), means)
    with pytest.raises(ValueError, match="must be finite"):
        made.fit(x, y * np.nan)
    with pytest.raises(ValueError, match="must have 2 columns"):
        fitted.predict(x[:, :1])
    density = np.square((y - means) / scales) + np.log(2 * np.pi * np.square(scales))
    np.testing.assert_allclose(fitted.score(x, y), -density.mean() / 2)
    for targets, message in (
        (y[:, None], r"shape \(examples,\)"),
        (y[:1], "1 targets"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted.score(x, targets)
    with pytest.raises(ValueError, match="no argument 'steps'"):
        made.set_params(steps=3)
    with pytest.raises(ValueError, match="comes before `predict`"):
        Regressor().predict(x)


@pytest.mark.parametrize(
    ("model", "is_divergent"),
    [
        *(("mlp50", False), ("mlp50_mcdo", False), ("mlp50_nomu", False)),
        *(("mlp50_flipout", True), ("mlp50_lrt", True), ("mlp50_rankone", True)),
    ],
)
def test_divergences_of_a_regressor_are_per_example(model, is_divergent):
    features = RNG.normal(size=(12, 2))
    regressor = Regressor(model, num_steps=1, batch_size=4).fit(
        features, features[:, 0]
    )
    program = regressor._program(2, 12)
    assert program.trained.num_examples == (12 if is_divergent else 1)


@pytest.mark.parametrize("method", ["flipout", "batchensemble", "rankone", "masks"])
def test_initial_weights_of_a_regressor_are_those_of_its_seed(method):
    settings = f"mlp50_{method}", "gaussian", 1, 4, 1e-2, 0.0, 2, 12

    def start(state, *seeds):
        keras.utils.set_random_seed(state)
        program, found = _Program(*settings), []
        for seed in seeds:
            program.begin(seed)
            found.append(program.model.get_weights())
        return found

    first, others = start(1, (0, 0), (0, 1), (1, 0)), start(2, (1, 0), (0, 1), (0, 0))
    for own, same in zip(first, others[::-1], strict=True):
        for a, b in zip(own, same, strict=True):
            np.testing.assert_array_equal(a, b)
    names = [w.path for w in zoo.build(f"mlp50_{method}", (2,), target=(0, 1)).weights]
    fixed = "bias", "rho", "state"  # Equal at first, or of the draws.
    for other in first[1:]:
        for name, a, b in zip(names, first[0], other, strict=True):
            assert name.endswith(fixed) or np.any(a != b), name


def test_artificial_points_of_a_regressor_are_those_of_its_seed():
    program = _Program("mlp50_nomu", "nomu", 1, 4, 1e-2, 0.0, 2, 12)
    features = RNG.normal(size=(4, 2)).astype("float32")
    known, weights = NumberData("d", features, np.zeros(4)), program.model.get_weights()
    objective = program.trained.objective

    def loss(x, y):
        return objective.training_loss(program.trained, x, y, None)

    compiled = compilation.program(loss, owner=program.trained)

    def of(seed):
        program.begin(seed)
        program.model.set_weights(weights)
        objective.adapt(known, None)
        given = map(ops.convert_to_tensor, (features, np.zeros(4, "float32")))
        return ops.convert_to_numpy(compiled(*given))

    first = of((0, 0))
    np.testing.assert_array_equal(of((0, 0)), first)
    for other in ((0, 1), (1, 0)):
        assert np.all(of(other) != first)


def test_rows_are_divided_by_their_content():
    x = RNG.normal(size=(50, 2))
    whole = NumberData("d", np.concatenate([x, x[:5]]), np.arange(55.0))
    order = RNG.permutation(55)
    other = NumberData("d", whole.images[order], whole.labels[order])
    sets = [number_data.split(d, "test").labels for d in (whole, other)]
    assert sorted(sets[0]) == sorted(sets[1])
