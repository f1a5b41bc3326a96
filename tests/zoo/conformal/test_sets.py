"""Sets with a promised coverage, against enumeration and slow versions."""

import itertools
import math
from fractions import Fraction

import keras
import numpy as np
import pytest
from scipy import stats

from tests.helpers.networks import as_numpy
from zoo import conformal
from zoo.conformal import APS, LAC, RAPS, Selective
from zoo.conformal.sets import quantile, threshold_rank

KINDS = {
    "lac": LAC,
    "aps": APS,
    "randomized aps": lambda c: APS(c, randomized=True),
    "raps": lambda c: RAPS(c, penalty=0.1, num_free=1),
}
each = pytest.mark.parametrize("kind", KINDS)


def predictions(count, num_classes=5, seed=0, sharpness=1.0):
    """Probabilities, and labels that are drawn from the square roots of these."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, num_classes), scale=2 * sharpness)
    labels = np.argmax(logits / 2 + rng.gumbel(size=logits.shape), axis=1)
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype("float32"), labels


def adapted(decision, *data, **kwargs):
    decision.adapt(*data, **kwargs)
    return decision


def sets(decision, probs, **kwargs):
    return as_numpy(decision(keras.ops.convert_to_tensor(probs), **kwargs))


@pytest.mark.parametrize("coverage", [0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1 / 3])
def test_the_rank_is_the_smallest_one_that_covers_enough(coverage):
    exact = Fraction(str(coverage))
    for count in range(1, 300):
        rank = threshold_rank(coverage, count)
        assert Fraction(rank, count + 1) >= exact > Fraction(rank - 1, count + 1)


def scores_of(decision, probs, labels, seed=0):
    """Returns the scores of labels; those of RAPS with its penalties."""
    values = {}
    if isinstance(decision, RAPS):
        behind = np.maximum(np.arange(1, probs.shape[1] + 1) - decision.num_free, 0)
        values["penalties"] = np.float32(decision.penalty * behind)
    return decision.scores_of(probs, labels, values, seed)


@each
@pytest.mark.parametrize("coverage", [0.5, 0.6, 0.75, 0.8])
def test_the_coverage_is_exact_over_all_orders_of_the_images(kind, coverage):
    # Of six images in every order, the last one is new.
    scores = scores_of(KINDS[kind](coverage), *predictions(6, seed=3), seed=4)
    hits = [
        scores[new] <= quantile(scores[list(now)], coverage)
        for *now, new in itertools.permutations(range(6))
    ]
    if len(set(scores)) == 6:
        assert np.mean(hits) == pytest.approx(math.ceil(6 * coverage) / 6)
    assert np.mean(hits) >= coverage
    assert kind not in ("lac", "randomized aps") or len(set(scores)) == 6


@each
@pytest.mark.parametrize("count", [9, 19, 50])
def test_over_many_draws_the_coverage_is_the_promised_one(kind, count):
    repeats, new, coverage = 1000, 40, 0.9
    data = predictions(repeats * (count + new), seed=1)
    scores = scores_of(KINDS[kind](coverage), *data).reshape(repeats, -1)
    covered = [
        np.mean(later <= quantile(now, coverage))
        for now, later in zip(scores[:, :count], scores[:, count:], strict=True)
    ]
    # The coverage of one adaptation is Beta(rank, count + 1 - rank) and its mean is
    # rank / (count + 1); more than four standard errors happen once in 16,000.
    rank = threshold_rank(coverage, count)
    beta = stats.beta(rank, count + 1 - rank)
    variance = beta.var() + beta.mean() * (1 - beta.mean()) / new
    error = 4 * math.sqrt(variance / repeats)
    assert np.mean(covered) > beta.mean() - error
    if kind in ("lac", "randomized aps"):  # In the others some scores are equal.
        assert np.mean(covered) < beta.mean() + error
        # So among `new` images the number is beta-binomial; five standard errors.
        spread = stats.betabinom(new, rank, count + 1 - rank)
        kurtosis = float(spread.stats("k"))
        error = 5 * spread.var() * math.sqrt((kurtosis + 2) / repeats)
        assert abs(np.var(np.multiply(covered, new)) - spread.var()) < error


def brute_force(probs, threshold, noise=None, penalty=0.0, num_free=0):
    """The sets of APS and RAPS, class by class, in the words of the papers."""
    found = np.zeros(probs.shape, bool)
    for row, p in enumerate(probs.astype("float64")):
        order = sorted(range(len(p)), key=lambda k: (-p[k], k))
        for rank, k in enumerate(order, start=1):
            above = sum(p[j] for j in order[: rank - 1])
            drawn = 0.0 if noise is None else noise[row] * p[k]
            score = above + drawn + penalty * max(0, rank - num_free)
            found[row, k] = score <= threshold
    return found


@pytest.mark.parametrize("settings", [{}, {"penalty": 0.05, "num_free": 2}])
@pytest.mark.parametrize("randomized", [False, True])
def test_the_sets_are_those_of_a_loop_over_classes_and_images(settings, randomized):
    probs, labels = predictions(200, num_classes=7)
    probs[:20] = np.round(probs[:20] * 8) / 8 + 1e-9  # Some are equal.
    probs[:20] /= probs[:20].sum(axis=1, keepdims=True)
    kind = RAPS if settings else APS
    decision = kind(0.8, randomized=randomized, **settings)
    decision.adapt(probs[100:], labels[100:])
    noise = None
    if randomized:
        one = np.zeros((100, 7), "float32")
        one[:, 0] = 1
        # The score of a class that has all the mass is the noise.
        plain = APS(0.8, randomized=True)
        noise = next(plain.all_scores(one, {}, seed=5))[:, 0]
        assert 0 <= noise.min() < 0.1
        assert 0.9 < noise.max() < 1
        assert len(np.unique(noise)) == 100
    found = sets(decision, probs[:100], seed=5)
    threshold = float(as_numpy(decision.threshold)[0])
    near = 1e-6  # Rounding of sums in float32.
    low = brute_force(probs[:100], threshold - near, noise, **settings)
    high = brute_force(probs[:100], threshold + near, noise, **settings)
    assert np.all(low <= found)
    assert np.all(found <= high)
    assert np.mean(low == high) > 0.99


def test_known_limits():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 999)
    uniform = np.full((999, 10), 0.1, "float32")
    size = sets(adapted(APS(0.8), uniform, labels), uniform[:1]).sum()
    assert size in (8, 9)  # Of equal classes the share that is asked for.
    sure = np.eye(10, dtype="float32")[labels]
    for kind in KINDS.values():
        found = sets(adapted(kind(0.9), sure, labels), sure)
        if not kind(0.9).draws:
            np.testing.assert_array_equal(found, sure > 0)
    probs, labels = predictions(500)
    # No penalty is APS, an endless one has the first classes alone.
    none = adapted(RAPS(0.9, penalty=0.0, num_free=1), probs, labels)
    np.testing.assert_array_equal(
        sets(none, probs), sets(adapted(APS(0.9), probs, labels), probs)
    )
    ranks = np.argsort(np.argsort(-probs, axis=1), axis=1)
    top = int(np.quantile(ranks[np.arange(500), labels], 0.95)) + 1
    endless = adapted(RAPS(0.9, penalty=1e6, num_free=top), probs, labels)
    assert sets(endless, probs).sum(axis=1).max() <= top
    most = adapted(LAC(0.998), probs, labels)
    assert sets(most, probs).mean() > 0.9


def test_raps_tunes_on_images_that_the_threshold_is_not_from():
    probs, labels = predictions(1000, num_classes=20, sharpness=0.6)
    decision = adapted(RAPS(0.9), probs, labels, seed=4)
    order = np.random.default_rng(4).permutation(1000)
    chosen, rest = order[:300], order[300:]
    ranks = np.argsort(np.argsort(-probs, axis=1), axis=1) + 1
    own = np.sort(ranks[np.arange(1000), labels][chosen])
    num_free = own[threshold_rank(0.9, 300) - 1]
    trials = {}
    for penalty in (0.001, 0.01, 0.1, 0.2, 0.5):
        trial = RAPS(0.9, penalty=penalty, num_free=int(num_free))
        trial.adapt(probs[chosen], labels[chosen])
        trials[penalty] = sets(trial, probs[chosen]).sum(axis=1).mean()
    best = min(trials, key=trials.get)
    expected = RAPS(0.9, penalty=best, num_free=int(num_free))
    expected.adapt(probs[rest], labels[rest])
    for name, value in decision.values().items():
        np.testing.assert_allclose(
            as_numpy(value), as_numpy(expected.values()[name]), rtol=1e-6
        )


def test_each_class_has_the_promised_coverage_where_it_is_asked_for():
    probs, labels = predictions(6000, num_classes=3)
    probs = probs * [3, 1, 1]  # Class 0 is too probable, so the others are missed.
    probs = (probs / probs.sum(axis=1, keepdims=True)).astype("float32")
    both = {}
    for conditional in (False, True):
        decision = LAC(0.9, class_conditional=conditional)
        decision.adapt(probs[:3000], labels[:3000])
        found = sets(decision, probs[3000:])[np.arange(3000), labels[3000:]]
        both[conditional] = [found[labels[3000:] == k].mean() for k in range(3)]
    assert min(both[False]) < 0.87
    assert max(both[False]) > 0.93
    # Four deviations of a frequency, twice: of those adapted to and of those tested.
    counts = np.bincount(labels[3000:])
    np.testing.assert_allclose(
        both[True], 0.9, atol=4 * np.sqrt(2 * 0.09 / counts.min())
    )


NAMES = "lac_90", "class_raps_99.5", "randomized_aps_80", "selective_20"


@pytest.mark.parametrize("name", NAMES)
def test_a_decision_survives_a_round_trip(name, tmp_path):
    probs, labels = predictions(2000, num_classes=3, sharpness=1.5)
    decision = conformal.named(name, seed=1)
    fresh = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(decision)
    )
    assert not fresh.is_adapted
    with pytest.raises(ValueError, match="call its `adapt`"):
        decision(probs)
    decision.adapt(probs, labels)
    expected = sets(decision, probs[:50], seed=3)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(decision)
    )
    assert again.promise == decision.promise
    np.testing.assert_array_equal(sets(again, probs[:50], seed=3), expected)
    inputs = keras.Input((3,))
    keras.Model(inputs, decision(inputs, seed=3)).save(tmp_path / "decision.keras")
    loaded = keras.saving.load_model(tmp_path / "decision.keras")
    np.testing.assert_array_equal(as_numpy(loaded(probs[:50])), expected)


def test_the_draws_of_an_image_follow_its_number_and_the_seed():
    probs, labels = predictions(300)
    decision = adapted(APS(0.7, randomized=True), probs, labels)
    whole = sets(decision, probs, seed=2)
    np.testing.assert_array_equal(
        sets(decision, probs[40:], seed=2, offset=40), whole[40:]
    )
    assert np.any(sets(decision, probs, seed=3) != whole)
    assert np.any(sets(decision, probs) != sets(decision, probs))
    assert sets(decision, probs[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p, y: (p[:8], y[:8]), "takes 9 labeled images at least.*8 images"),
        (lambda p, y: (p, y[:-1]), r"labels.shape=\(99,\)"),
        (lambda p, y: (p, None), "labels"),
        (lambda p, y: (np.where(p > 0.9, np.nan, p), y), "NaN or infinity in"),
        (lambda p, y: (np.log(p), y), "apply a softmax"),
        (lambda p, y: (p[:0], y[:0]), r"probs.shape=\(0, 5\)"),
        (lambda p, y: (p[None, None], y[None, None]), "at least.*1 images"),
        (lambda p, y: (p[None], y[None]), r"probs.shape=\(1, 100, 5\)"),
        (lambda p, y: (p, y + 1), r"\[0, 5\)"),
    ],
)
def test_what_gives_no_promise_is_refused(change, message):
    data = predictions(100)
    for decision in (LAC(0.9), APS(0.9), RAPS(0.9, penalty=0.1, num_free=1)):
        with pytest.raises(ValueError, match=message):
            decision.adapt(*change(*data))
        assert not decision.is_adapted


def test_classes_without_images_and_bad_probabilities_are_refused():
    probs, labels = predictions(100)
    with pytest.raises(ValueError, match="of class 4 at least.*0 images of class 4"):
        LAC(0.5, class_conditional=True).adapt(probs, np.minimum(labels, 3))
    with pytest.raises(ValueError, match="9 labeled images to tune by"):
        RAPS(0.9).adapt(probs[:20], labels[:20])
    with pytest.raises(ValueError, match="to tune by at least.*0 images to tune by"):
        RAPS(0.9, num_free=1).adapt(probs[:1], labels[:1])
    decision = adapted(LAC(0.5), probs, labels)
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 2"):
        decision(np.where([[True], [False]], np.nan, probs[:2]))
    with pytest.raises(ValueError, match="apply a softmax"):
        decision(3 * probs[:2])


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan"), "0.9", True, None])
def test_promises_that_cannot_be_kept_are_refused(value):
    for kind in (LAC, APS, RAPS):
        with pytest.raises(ValueError, match=f"coverage={value}"):
            kind(value)
    for name in ("risk", "level"):
        with pytest.raises(ValueError, match=f"{name}={value}"):
            Selective(**{name: value})


@pytest.mark.parametrize(
    "name, message",
    [
        ("asp_90", "Unknown decision.*Did you mean 'aps'"),
        ("aps", "Unknown decision"),
        ("aps_100", "in percent, such as 'aps_10'"),
        ("aps_0.9.9", "in percent"),
        ("randomized_lac_90", "before 'lac' may stand: class. Received"),
        ("class_selective_5", "before 'selective' may stand: nothing"),
    ],
)
def test_names_that_mean_no_decision_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        conformal.named(name)


@pytest.mark.parametrize("penalty", [-0.1, float("inf"), float("nan"), "0.1"])
def test_penalties_that_mean_nothing_are_refused(penalty):
    with pytest.raises(ValueError, match=f"penalty={penalty}"):
        RAPS(0.9, penalty=penalty)
    with pytest.raises(ValueError, match="num_free"):
        RAPS(0.9, num_free=0)
