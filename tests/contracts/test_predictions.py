"""Functions of probabilities and labels, of scores, and of sampled logits."""

import keras
import numpy as np
import pytest

from tests.contracts.cases import Case, Refused, Same, check_all
from training import metrics
from training.metrics.keras_metrics import Classification
from zoo import conformal, predictive
from zoo.posterior.temperature import best_temperature

RNG = np.random.default_rng(0)
COUNT, CLASSES = 40, 4
PROBS = 0.96 * RNG.dirichlet(np.full(CLASSES, 0.4), COUNT) + 0.04 / CLASSES
LABELS = RNG.integers(0, CLASSES, COUNT)
BASE, ORDER, RENAMED = (PROBS, LABELS), RNG.permutation(COUNT), np.array([2, 0, 3, 1])


def changed(array, value, place=3):
    array = np.array(array)
    array[place] = value
    return array


def one(probs, labels):
    return (probs[:1], labels[:1]), (
        np.repeat(probs[:1], 3, 0),
        np.repeat(labels[:1], 3),
    )


ONE, THREE = one(*BASE)
UNIFORM = np.full((COUNT, CLASSES), 1 / CLASSES)
SURE = np.eye(CLASSES)[LABELS]
READ_ONLY = PROBS.copy()
READ_ONLY.flags.writeable = False
BOTH = "probs", "labels"
CASES = [
    Case("lists", (PROBS.tolist(), LABELS.tolist()), Same(BASE)),
    Case("float32", (PROBS.astype("float32"), LABELS), Same(BASE, 1e-5)),
    Case("columns first", (np.asfortranarray(PROBS), LABELS), Same(BASE)),
    Case(
        "a view", (np.repeat(PROBS, 2, 0)[::2], np.repeat(LABELS, 2)[::2]), Same(BASE)
    ),
    Case("read only", (READ_ONLY, LABELS), Same(BASE)),
    Case("labels of 8 bits", (PROBS, LABELS.astype("uint8")), Same(BASE)),
    Case("labels of 64 bits", (PROBS, LABELS.astype("uint64")), Same(BASE)),
    Case("another order", (PROBS[ORDER], LABELS[ORDER]), Same(BASE)),
    Case("sorted by label", [x[np.argsort(LABELS)] for x in BASE], Same(BASE)),
    Case("renamed", (PROBS[:, np.argsort(RENAMED)], RENAMED[LABELS]), Same(BASE)),
    Case("tensors", tuple(map(keras.ops.convert_to_tensor, BASE)), Same(BASE)),
    Case("one row", ONE, Same(THREE)),
    Case("all alike", (UNIFORM[:4], LABELS[:4]), Same((UNIFORM[3::-1], LABELS[3::-1]))),
    Case("all right", (SURE, LABELS), Same((SURE[ORDER], LABELS[ORDER]))),
    Case("nothing", (PROBS[:0], LABELS[:0]), Refused(*BOTH)),
    Case("no classes", (PROBS[:, :0], LABELS), Refused(*BOTH)),
    Case("one class", (np.ones((COUNT, 1)), np.zeros(COUNT, int)), Refused("probs")),
    Case("one axis", (PROBS[:, 0], LABELS), Refused("probs")),
    Case("three axes", (PROBS[None], LABELS), Refused("probs")),
    Case("a number", (0.5, 1), Refused("probs")),
    Case("NaN", (changed(PROBS, np.nan), LABELS), Refused("probs")),
    Case("infinity", (changed(PROBS, np.inf), LABELS), Refused("probs")),
    Case("negative", (PROBS - 0.1, LABELS), Refused("probs")),
    Case("logits", (np.log(PROBS), LABELS), Refused("probs")),
    Case("percent", (100 * PROBS, LABELS), Refused("probs")),
    Case("words", (PROBS.astype(str), LABELS), Refused("probs")),
    Case("complex", (PROBS.astype(complex), LABELS), Refused("probs")),
    Case("label below", (PROBS, changed(LABELS, -1)), Refused("labels")),
    Case("label above", (PROBS, changed(LABELS, CLASSES)), Refused("labels")),
    Case("label from 1", (PROBS, LABELS + 1), Refused("labels")),
    Case("float labels", (PROBS, LABELS.astype(float)), Refused("labels")),
    Case("boolean labels", (PROBS, LABELS > 1), Refused("labels")),
    Case("labels as words", (PROBS, LABELS.astype(str)), Refused("labels")),
    Case("one-hot labels", (PROBS, SURE), Refused("labels")),
    Case("a column of labels", (PROBS, LABELS[:, None]), Refused("labels")),
    Case("a label missing", (PROBS, LABELS[:-1]), Refused("labels")),
    Case("one label for all", (PROBS, LABELS[:1]), Refused("labels")),
]


def threshold(decision, probs, labels):
    """Returns what a decision learns from predictions."""
    decision.adapt(probs, labels)
    return float(keras.ops.convert_to_numpy(decision.threshold)[0])


def computed(probs, labels):
    """Returns two metrics that share a passage and one that is called."""
    functions = {n: metrics.CLASSIFICATION[n] for n in ("nll", "iou", "aurc")}
    return np.array([*metrics.compute(functions, probs, labels).values()])


OF_LABELS = {
    "compute": computed,
    **metrics.SEGMENTATION,
    **metrics.CLASSIFICATION,
    "top_k": lambda probs, labels: metrics.top_k(probs, labels, k=2),
    "reliability": metrics.reliability,
    "risk_coverage": metrics.risk_coverage,
    "confidence_curve": metrics.confidence_curve,
    "brier_decomposition": metrics.brier_decomposition,
    "LAC": lambda probs, labels: threshold(conformal.LAC(0.5), probs, labels),
    "APS": lambda probs, labels: threshold(conformal.APS(0.5), probs, labels),
}
CURVES = metrics.reliability, metrics.risk_coverage, metrics.confidence_curve


@pytest.mark.parametrize("function", OF_LABELS.values(), ids=OF_LABELS)
def test_a_metric_is_right_or_names_the_argument(function):
    is_curve = function in CURVES  # They have a point for each example.
    check_all(function, [c for c in CASES if not (is_curve and c.name == "one row")])


SETS = PROBS > 0.2
OF_SETS = [
    Case("lists", (SETS.tolist(), LABELS.tolist()), Same((SETS, LABELS))),
    Case("another order", (SETS[ORDER], LABELS[ORDER]), Same((SETS, LABELS))),
    Case("tensors", (keras.ops.convert_to_tensor(SETS), LABELS), Same((SETS, LABELS))),
    Case("nothing", (SETS[:0], LABELS[:0]), Refused("sets")),
    Case("one axis", (SETS[:, 0], LABELS), Refused("sets")),
    Case("one class", (SETS[:, :1], np.zeros(COUNT, int)), Refused("sets")),
    Case("probabilities", (PROBS, LABELS), Refused("sets")),
    Case("numbers", (SETS.astype(int), LABELS), Refused("sets")),
    Case("label above", (SETS, changed(LABELS, CLASSES)), Refused("labels")),
    Case("a label missing", (SETS, LABELS[:-1]), Refused("labels")),
    Case("float labels", (SETS, LABELS.astype(float)), Refused("labels")),
]


@pytest.mark.parametrize(
    "function", metrics.PIXEL_SETS.values(), ids=metrics.PIXEL_SETS
)
def test_a_metric_of_sets_is_right_or_names_the_argument(function):
    check_all(function, OF_SETS)


NUMBERS = [
    Case(f"{value}", (*BASE, value), Refused("num_bins", "k"))
    for value in (0, -1, 1.5, np.nan, np.inf, "3", None, True)
]
OF_NUMBERS = {
    **{
        name: getattr(metrics, name)
        for name in (
            *("ece", "signed_ece", "rms_calibration_error", "class_wise_ece"),
            *("maximum_calibration_error", "adaptive_ece", "reliability", "top_k"),
        )
    },
    "Classification": lambda p, y, n: Classification("ece", num_bins=n),
}


@pytest.mark.parametrize("function", OF_NUMBERS.values(), ids=OF_NUMBERS)
def test_a_number_of_bins_or_classes_is_positive_or_named(function):
    check_all(function, NUMBERS)


@pytest.mark.parametrize("metric", ["accuracy", "ece", "brier_reliability", "iou_90"])
def test_a_metric_of_keras_is_the_function_or_nan_or_an_error(metric):
    for name, args, _ in CASES:
        try:
            expected = metrics.CLASSIFICATION[metric](*args)
        except ValueError:
            expected = np.nan
        instance = Classification(metric, num_classes=CLASSES)
        try:
            instance.update_state(args[1], args[0])
        except ValueError:
            assert np.isnan(expected), name
            continue
        if name not in TAKEN:
            found = float(instance.result())
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)


# Keras brings these into its own form before a metric sees them.
TAKEN = {"a column of labels", "float labels", "boolean labels", "one label for all"}


SCORES = RNG.normal(size=30), RNG.normal(1, 1, 20)
SHUFFLED = tuple(RNG.permutation(values) for values in SCORES)
SCORE_CASES = [
    Case("lists", tuple(x.tolist() for x in SCORES), Same(SCORES)),
    Case("another order", SHUFFLED, Same(SCORES)),
    Case("another unit", tuple(5 * x - 2 for x in SCORES), Same(SCORES)),
    Case(
        "infinite",
        (changed(SCORES[0], -np.inf, 0), SCORES[1]),
        Same((changed(SCORES[0], -1e9, 0), SCORES[1])),
    ),
    Case("one of each", ([0.0], [1.0]), Same(([0.0, 0.0], [1.0, 1.0]))),
    Case("all alike", ([0.0] * 3, [0.0] * 3), Same(([1.0] * 3, [1.0] * 3))),
    Case("none in", (SCORES[0][:0], SCORES[1]), Refused("scores_in")),
    Case("none out", (SCORES[0], SCORES[1][:0]), Refused("scores_out")),
    Case("NaN in", (changed(SCORES[0], np.nan), SCORES[1]), Refused("scores_in")),
    Case("NaN out", (SCORES[0], changed(SCORES[1], np.nan)), Refused("scores_out")),
    Case("two axes", (SCORES[0][None], SCORES[1]), Refused("scores_in")),
    Case("a number", (0.5, SCORES[1]), Refused("scores_in")),
    Case("words", (SCORES[0].astype(str), SCORES[1]), Refused("scores_in")),
    Case("complex", (SCORES[0], SCORES[1].astype(complex)), Refused("scores_out")),
]


@pytest.mark.parametrize("function", metrics.DETECTION.values(), ids=metrics.DETECTION)
def test_a_detection_metric_is_right_or_names_the_argument(function):
    check_all(function, SCORE_CASES)


def test_scores_of_probabilities_are_right_or_name_the_argument():
    def of_probs(probs, labels):
        scores = metrics.ood_scores(probs)
        return {name: np.sort(values).mean() for name, values in scores.items()}

    check_all(of_probs, [case for case in CASES if "label" not in case.name])


@pytest.mark.parametrize(
    "name", ["mutual_information", "energy", "max_logit", "density"]
)
def test_further_scores_are_one_number_for_each_image(name):
    wrong = [PROBS[:-1, 0], PROBS, changed(PROBS[:, 0], np.nan), 0.5]
    check_all(
        lambda given: metrics.ood_scores(PROBS, **{name: given}),
        [Case(str(np.shape(given)), (given,), Refused(name)) for given in wrong],
    )


FRAMES = PROBS.reshape(8, 5, CLASSES)
FRAME_CASES = [
    Case("lists", (FRAMES.tolist(),), Same((FRAMES,))),
    Case("float32", (FRAMES.astype("float32"),), Same((FRAMES,), 1e-5)),
    Case("another order", (FRAMES[::-1],), Same((FRAMES,))),
    Case("renamed", (FRAMES[..., RENAMED],), Same((FRAMES,))),
    Case("one sequence", (FRAMES[:1],), Same((np.repeat(FRAMES[:1], 3, 0),))),
    Case("nothing", (FRAMES[:0],), Refused("probs")),
    Case("one frame", (FRAMES[:, :1],), Refused("probs")),
    Case("one class", (np.ones((4, 5, 1)),), Refused("probs")),
    Case("two axes", (PROBS,), Refused("probs")),
    Case("four axes", (FRAMES[None],), Refused("probs")),
    Case("NaN", (changed(FRAMES, np.nan),), Refused("probs")),
    Case("logits", (np.log(FRAMES),), Refused("probs")),
    Case("words", (FRAMES.astype(str),), Refused("probs")),
]


@pytest.mark.parametrize("function", metrics.SEQUENCES.values(), ids=metrics.SEQUENCES)
def test_a_metric_of_sequences_is_right_or_names_the_argument(function):
    check_all(function, FRAME_CASES)


LOGITS = np.log(PROBS) + RNG.normal(size=(COUNT, 1))
SAMPLES = LOGITS + RNG.normal(size=(5, COUNT, CLASSES))


def quantity(name):
    def of_samples(samples):
        values = keras.ops.convert_to_numpy(getattr(predictive, name)(samples))
        return np.sort(values, axis=None)

    return of_samples


QUANTITIES = (
    *("probs", "log_probs", "entropy", "expected_entropy", "mutual_information"),
    "variation_ratio",
)
BROKEN = [
    Case("one axis", (LOGITS[0],), Refused("logits")),
    Case("two axes", (LOGITS,), Refused("logits")),
    Case("four axes", (SAMPLES[None],), Refused("logits")),
    Case("no samples", (SAMPLES[:0],), Refused("logits")),
    Case("one class", (SAMPLES[..., :1],), Refused("logits")),
    Case("NaN", (changed(SAMPLES, np.nan),), Refused("logits")),
    Case("infinity", (changed(SAMPLES, np.inf, (0, 0, 0)),), Refused("logits")),
    Case("probabilities", (keras.ops.softmax(SAMPLES),), Refused("logits")),
    Case("words", (SAMPLES.astype(str),), Refused("logits")),
    Case("complex", (SAMPLES.astype(complex),), Refused("logits")),
    Case("a number", (0.5,), Refused("logits")),
]
SOUND = [
    Case("lists", (SAMPLES.tolist(),), Same((SAMPLES,), 1e-5)),
    Case("float32", (SAMPLES.astype("float32"),), Same((SAMPLES,), 1e-5)),
    Case(
        "float16",
        (SAMPLES.astype("float16"),),
        Same((SAMPLES.astype("float16").astype("float32"),), 1e-5),
    ),
    Case("samples in another order", (SAMPLES[::-1],), Same((SAMPLES,), 1e-5)),
    Case("images in another order", (SAMPLES[:, ::-1],), Same((SAMPLES,), 1e-5)),
    Case("renamed", (SAMPLES[..., RENAMED],), Same((SAMPLES,), 1e-5)),
    Case("shifted", (SAMPLES + 7,), Same((SAMPLES,), 1e-5)),
    Case("one sample", (SAMPLES[:1],), Same((np.repeat(SAMPLES[:1], 3, 0),), 1e-5)),
    Case(
        "whole numbers",
        (np.round(SAMPLES).astype(int),),
        Same((np.round(SAMPLES),), 1e-5),
    ),
]


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_quantity_of_samples_is_right_or_names_the_argument(name):
    check_all(quantity(name), SOUND + BROKEN)


TEMPERATURES = [
    *(
        case._replace(args=(LOGITS, case.args[1]))
        for case in CASES
        if "label" in case.name and isinstance(case.outcome, Refused)
    ),
    Case("lists", (LOGITS.tolist(), LABELS.tolist()), Same((LOGITS, LABELS))),
    Case("shifted", (LOGITS + 9, LABELS), Same((LOGITS, LABELS))),
    Case("NaN", (changed(LOGITS, np.nan), LABELS), Refused("logits")),
    Case("infinity", (changed(LOGITS, np.inf), LABELS), Refused("logits")),
    Case("probabilities", (PROBS, LABELS), Refused("logits")),
    Case("one class", (LOGITS[:, :1], LABELS * 0), Refused("logits")),
    Case("three axes", (LOGITS[None], LABELS), Refused("logits")),
    Case("nothing", (LOGITS[:0], LABELS[:0]), Refused("logits", "labels")),
]


def test_a_temperature_is_right_or_names_the_argument():
    check_all(best_temperature, TEMPERATURES)
