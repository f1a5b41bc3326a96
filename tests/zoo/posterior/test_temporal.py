"""Temporal smoothing against loops over the definition."""

import keras
import numpy as np
import pytest
from keras import ops

import layers
from tests.helpers import exports, marks, processes, scenes
from training.evaluation.sampling import Passes
from zoo.posterior import MonteCarlo, Temporal

SEED = 7
SIZE = 8
FRAMES = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 1)).astype("float32")


def network(*inside, of_pixels=False):
    """A network of a few weights."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.Conv2D(6, 3, padding="same")(keras.layers.Rescaling(1 / 50)(x))
    for layer in inside:
        x = layer(x)
    x = x if of_pixels else keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def dropout(**settings):
    return network(layers.MCDropout(0.5), **settings)


def as_numpy(x):
    return ops.convert_to_numpy(x)


def softmax(logits):
    powers = np.exp(as_numpy(logits).astype("float64"))
    return powers / powers.sum(axis=-1, keepdims=True)


def passes(posterior, frames, first=0):
    """Frame `t` with the draws of sample `first + t`, one frame at a time."""
    posterior.num_samples = first + len(frames)
    samples = [as_numpy(posterior(frame[None], seed=SEED)) for frame in frames]
    return np.stack([softmax(s[first + t, 0]) for t, s in enumerate(samples)])


def smoothed(probs, rate, past, future=0, starts=(0,)):
    """The weighted mean of each frame, as loops."""
    scene = [sum(start <= t for start in starts) for t in range(len(probs))]
    found = []
    for t in range(len(probs)):
        total, weight = 0, 0
        for other in range(len(probs)):
            age = t - other
            if scene[t] != scene[other] or age < -future:
                continue
            if past is None or age <= past:
                total = total + np.exp(-rate * abs(age)) * probs[other]
                weight += np.exp(-rate * abs(age))
        found.append(total / weight)
    return np.stack(found)


def streamed(posterior, frames, state=None):
    state = posterior.initial_state(SEED) if state is None else state
    found = []
    for frame in frames:
        probs, state = posterior.step(frame, state)
        found.append(as_numpy(probs))
    return np.stack(found), state


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.fixture(scope="module")
def networks():
    """Of images and of pixels, and one whose draws are of a whole batch."""
    sampled = MonteCarlo(exports.flipout_model(), 1, estimator="weight_sampling")
    unet = MonteCarlo(scenes.network(("mcdo50",)), 1)
    return {
        "images": (MonteCarlo(dropout(), 1), FRAMES),
        "pixels": (MonteCarlo(dropout(of_pixels=True), 1), FRAMES),
        "weights": (sampled, exports.IMAGES[:3]),
        "unet": (unet, scenes.scenes(4).images.astype("float32")),
    }


def test_weights_are_the_published_ones_newest_first():
    model = network()
    published = [0.5552, 0.2495, 0.1121, 0.0504, 0.0226, 0.0102]
    np.testing.assert_allclose(Temporal(model).frame_weights, published, atol=5e-5)
    both = Temporal(model, 1.0, past=1, future=2).frame_weights
    np.testing.assert_allclose(both[1:] / both[:-1], np.exp([1, 1, -1]))
    assert Temporal(model, past=0).frame_weights.tolist() == [1]
    endless = Temporal(model, rate=0.8, past=None)
    a = 1 - np.exp(-0.8)
    expected = a * (1 - a) ** np.arange(len(endless.frame_weights))
    np.testing.assert_allclose(endless.frame_weights, expected, rtol=1e-6)
    assert expected[-1] < 2**-23
    assert endless.context == (21, 0)
    assert Temporal(model, past=3, future=1).context == (3, 1)


SETTINGS = {
    "images": [(0.8, 2, 0), (0.3, None, 0)],
    "pixels": [(0.5, 1, 0)],
    "weights": [(0.8, 2, 0)],
    "unet": [(0.8, 2, 0), (0.3, None, 0), (0.5, 1, 1), (2.0, 0, 0), (0.2, None, 2)],
}


@pytest.mark.parametrize("kind", marks.few(SETTINGS, slow={"weights", "unet"}))
def test_clips_and_streams_are_means_of_one_pass_a_frame(networks, kind):
    inner, frames = networks[kind]
    first = 2
    expected = passes(inner, frames, first)
    inner.num_samples = 1
    for rate, past, future in SETTINGS[kind]:
        posterior = Temporal(inner, rate, past, future)
        logits = as_numpy(posterior(frames, seed=SEED, offset=first))
        assert logits.shape == (1, *expected.shape)
        close(np.exp(logits[0]), smoothed(expected, rate, past, future))
        if future:
            continue
        state = posterior.initial_state(SEED)
        state["number"] = state["number"] + first
        probs, state = streamed(posterior, frames, state)
        close(probs, smoothed(expected, rate, past))
        assert int(state["count"]) == len(frames)
        assert int(state["number"]) == first + len(frames)


def test_a_network_that_does_not_draw_is_averaged_too():
    model = network()
    posterior = Temporal(model, rate=0.4, past=None)
    assert posterior.repeats_itself
    once = softmax(model(FRAMES))
    probs, state = streamed(posterior, FRAMES)
    assert set(state) == {"count", "window"}
    mean, a = 0, 1 - np.exp(-0.4)
    for t, p in enumerate(once):
        mean = a * p + (1 - a) * mean
        close(probs[t], mean / (1 - (1 - a) ** (t + 1)))
    still = np.repeat(FRAMES[:1], 4, axis=0)  # Then it is one prediction.
    close(streamed(Temporal(model), still)[0], once[[0] * 4])
    for rate in (1e-4, 1e-9):
        even = Temporal(model, rate=rate, past=None)  # All frames count alike.
        last = streamed(even, FRAMES)[0][-1]
        np.testing.assert_allclose(last, once.mean(axis=0), rtol=3e-4)


def block(place):
    """A frame with a bright block at a place, and a little noise."""
    frame = np.full((SIZE, SIZE, 1), 20, "float32")
    frame[place : place + 3, place : place + 4] = 200
    return frame + np.random.default_rng(place).uniform(0, 30, frame.shape)


def test_the_mean_begins_anew_at_cuts_that_are_seen_or_told(networks):
    inner, _ = networks["images"]
    bright, other = 1.1 * block(0), block(4)
    frames = np.stack([block(0), block(0), bright, other, other, 0 * other, other])
    expected = smoothed(passes(inner, frames), 0.8, 5, starts=(0, 3, 5, 6))
    inner.num_samples = 1
    posterior = Temporal(inner, cut=0.5)
    close(np.exp(as_numpy(posterior(frames, seed=SEED))[0]), expected)
    state, counts = posterior.initial_state(SEED), []
    for frame, probs in zip(frames, expected, strict=True):
        found, state = posterior.step(frame, state)
        close(found, probs)
        counts.append(int(state["count"]))
    assert counts == [1, 2, 3, 1, 2, 1, 1]
    told = Temporal(inner)
    _, state = streamed(told, frames[:3])
    probs, _ = streamed(told, frames[3:5], told.reset(state))
    close(probs, expected[3:5])


@pytest.mark.parametrize(
    "settings",
    [
        {"past": 1, "future": 1},
        pytest.param({"past": None, "cut": 0.9}, marks=pytest.mark.slow),
    ],
)
def test_the_split_into_batches_does_not_matter(networks, settings):
    inner, frames = networks["images"]
    posterior = Temporal(inner, **settings)
    whole = as_numpy(posterior(frames, seed=SEED))
    parts = posterior.predict(frames, batch_size=2, seed=SEED)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    rows = Passes(posterior, (1,), seed=SEED, batch_size=2).batches(frames)
    probs = np.concatenate([values["probs"][0] for _, values in rows])
    np.testing.assert_allclose(probs, np.exp(whole[0]), atol=1e-5)
    assert as_numpy(posterior(frames[:0])).shape == (1, 0, 4)


def test_it_saves_and_loads(networks, tmp_path):
    inner, frames = networks["images"]
    posterior = Temporal(inner, 0.5, 3, cut=0.25, name="stream")
    config = keras.saving.serialize_keras_object(posterior)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == posterior.get_config()
    images = keras.Input(frames.shape[1:])
    path = tmp_path / "model.keras"
    keras.Model(images, posterior(images)[0]).save(path)
    loaded = keras.models.load_model(path).get_layer("stream")
    assert (loaded.rate, loaded.past, loaded.future, loaded.cut) == (0.5, 3, 0, 0.25)
    found, expected = (p(frames, seed=SEED) for p in (loaded, posterior))
    np.testing.assert_array_equal(as_numpy(found), as_numpy(expected))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rate": 0}, "`rate` must be positive and finite. Received: rate=0"),
        ({"rate": float("inf")}, "`rate` must be positive and finite"),
        (
            {"past": -1},
            "`past` must be a number of frames, 0 or more, or None.*past=-1",
        ),
        ({"past": 1.5}, "`past` must be a number of frames"),
        ({"future": None}, "`future` must be a number of frames, 0 or more. Received"),
        ({"cut": 0}, "`cut` is a change of a frame between 0 and 2"),
        ({"cut": 2}, "Received: cut=2"),
    ],
)
def test_settings_out_of_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Temporal(network(), **settings)


def test_what_is_no_frame_or_state_is_refused():
    posterior = Temporal(dropout())
    state = posterior.initial_state()
    for frame, given, message in (
        (FRAMES, state, r"must have the shape \('batch', 8, 8, 1\)"),
        (FRAMES[0], {}, "`state` must be what .* with count, window, seed, number"),
        (FRAMES[0], None, "Received: NoneType"),
    ):
        with pytest.raises(ValueError, match=message):
            posterior.step(frame, given)
    with pytest.raises(ValueError, match=r"seed` must be .*seed=-1"):
        posterior.initial_state(-1)
    ahead = Temporal(dropout(), future=1)
    with pytest.raises(ValueError, match="yet to come: set future=0.*future=1"):
        ahead.step(FRAMES[0], ahead.initial_state())
    with pytest.raises(ValueError, match="made of one model. Received: 2 models"):
        Temporal.from_models([network(), network()])
    with pytest.raises(ValueError, match="`model` must be a built Keras model"):
        Temporal(layers.MCDropout(0.5))


@marks.on_others
def test_all_of_this_holds_on_other_backends(backend):
    pytest.importorskip(backend)
    processes.check_on(backend, __file__)
