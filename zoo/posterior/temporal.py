"""Temporal smoothing: the mean prediction of recent frames, at one pass a frame."""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

import layers
from layers import keras_internals
from layers.compilation import Compiled
from zoo.posterior.around import Around
from zoo.posterior.base import (
    as_array,
    at_least_one,
    check_images,
    check_scale,
)
from zoo.posterior.monte_carlo import MonteCarlo

_TINY = 1e-30  # In place of probabilities of zero, whose logarithm is infinite.
_VANISHING = 2.0**-24  # The share of a mean that float32 does not see.
_SIDE = 8  # Of the small images that tell a cut.
# The constants of the structural similarity, for pixels in [0, 255].
_LEVEL, _CONTRAST = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@keras.saving.register_keras_serializable(package="zoo")
class Temporal(Around):
    r"""Averages the predictions of consecutive frames, of one pass each.

    A stream changes little from frame to frame, so one stochastic pass of each of the
    last frames takes the place of many passes of the last one. Their probabilities are
    averaged with weights that fall exponentially,

        probs[t] = sum over k of weights[k] * softmax(logits[t - k]),
        weights[k] = exp(-rate * abs(k)) / sum,   k = -future, ..., past

    where frames that are not there, before the first one or behind the last one, have
    no weight and the sum is over the others. With `past=None` that is the moving
    average `m[t] = a * p[t] + (1 - a) * m[t - 1]`, `a = 1 - exp(-rate)`, over all
    frames so far, divided by `1 - (1 - a)**(t + 1)`. A model that does not draw is
    averaged too. Nothing is trained.

    Called as `posterior(images, seed=None, offset=0)`, the images are the consecutive
    frames of a clip; `zoo.posterior.Posterior` says what seed and offset mean. Frame
    number `n`, counted from `offset`, draws what sample `n` of `MonteCarlo` draws.
    `predict` gives each batch the frames before and behind it. As a stream it takes one
    frame at a time, and has its state from outside:

        state = posterior.initial_state(seed=0)
        for frame in frames:
            probs, state = posterior.step(frame, state)

    At a cut to another scene the mean begins anew. Where it is known, call `reset`; or
    give `cut`, from 0 to 2. Frames are reduced to 8 x 8 gray blocks, and one whose
    structural similarity to the last one is below `1 - cut` begins a scene. That heeds
    where light and dark is in a frame, and hardly brightness, contrast, noise and
    small motions. With 0.5, of unrelated photographs 95 % begin a scene.

    Args:
        model: From images to logits, of each image or of its pixels; or `MonteCarlo`
            of one, of which one pass a frame is taken.
        rate: How fast weights fall, per frame; positive. The time constant is
            `1 / rate` frames.
        past: How many frames before one count; None for all of them.
        future: How many frames behind one count, which a clip has and a stream has not.
        cut: Change of a frame, `1 - similarity`, from which on it begins a new scene;
            None for never.
        seed: Makes the calls without a seed reproducible.

    Raises:
        ValueError: If a number is out of its range.

    Input shape: `(frames, height, width, channels)`.

    Output shape: `(1, frames, num_classes)`, or `(1, frames, height, width,
    num_classes)` of models with logits for each pixel: logarithms of mean
    probabilities.

    Example:

    >>> import zoo
    >>> model = zoo.build("resnet20_mcdo", (32, 32, 3), num_classes=10)
    >>> posterior = Temporal(model)
    >>> posterior.frame_weights.round(4).tolist()
    [0.5552, 0.2495, 0.1121, 0.0504, 0.0226, 0.0102]
    >>> tuple(posterior(ops.zeros((12, 32, 32, 3))).shape)
    (1, 12, 10)
    >>> probs, state = posterior.step(ops.zeros((32, 32, 3)), posterior.initial_state())
    >>> tuple(probs.shape), int(state["count"])
    ((10,), 1)

    Reference:
        [Vector Quantized Bayesian Neural Network Inference for Data Streams](
        https://arxiv.org/abs/1907.05911) (Park et al., 2021);
        [Image Quality Assessment](https://doi.org/10.1109/TIP.2003.819861) (Wang et
        al., 2004), Eq. 13, for the similarity.
    """

    adapts_to = ()
    unknown_scores = ("mutual_information",)

    tasks = ("classification", "segmentation")

    def __init__(
        self,
        model: keras.Model | MonteCarlo,
        rate: float = 0.8,
        past: int | None = 5,
        future: int = 0,
        cut: float | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed, **kwargs)
        self.rate = layers.checks.check_positive(rate, "rate")
        self.past = None if past is None else _frames(past, "past", ", or None for all")
        self.future = _frames(future, "future")
        if not (cut is None or (layers.checks.is_number(cut) and 0 < cut < 2)):
            raise ValueError(
                "`cut` is a change of a frame between 0 and 2, such as 0.5, or None. "
                f"Received: cut={cut}"
            )
        self.cut = cut
        is_one = isinstance(model, MonteCarlo)
        self.wrap(model if is_one else MonteCarlo(model, 1))
        known = not self.unknown_layers
        self._over_clip = Compiled(self._clip, self, known)
        self._over_step = Compiled(self._advance, self, known)

    @classmethod
    def from_models(cls, models: Sequence, num_samples: int = 10, **settings):
        """Returns a posterior of one model, as `model@temporal` means it.

        Args:
            models: A Keras model from images to logits.
            num_samples: Of nothing: it takes one pass of each frame.
            **settings: Further arguments of the constructor.
        """
        if len(models) != 1:
            return super().from_models(models)  # Its error.
        return cls(models[0], **settings)

    @property
    def form(self) -> str:
        return f"{self.rate} {self.past} {self.future} {self.cut}"

    @property
    def context(self) -> tuple[int, int]:
        """How many frames before and behind a frame its prediction depends on.

        Without a limit to the past, those whose share float32 does not see do not
        count.
        """
        past = self.past
        if past is None:
            past = math.ceil(-math.log(_VANISHING) / self.rate)
        return past, self.future

    @property
    def frame_weights(self) -> np.ndarray:
        """The weights of the frames, newest first, whose sum is 1.

        The last `future` frames come first, and then the frame itself. Where all the
        past counts, they end where they vanish in float32.
        """
        past, future = self.context
        weights = np.exp(-self.rate * np.abs(np.arange(-future, past + 1)))
        return weights / weights.sum()

    def of(self, posterior):
        return type(self)(posterior, **self._settings(), name=self.name)

    def sample(self, images, key, offset):
        rows = at_least_one(images)
        self.probe_once(rows)
        version = self.posterior.noise_settings()
        probs = self._over_clip((rows, key, offset), (), version)
        keras_internals.clear_losses(self)
        probs = probs if rows is images else probs[: ops.shape(images)[0]]
        return ops.log(ops.maximum(probs, _TINY))[None]

    def initial_state(self, seed: int = 0) -> dict:
        """Returns the state of a stream before its first frame.

        Args:
            seed: Seed of the draws of all frames, an integer of 32 bits.

        Returns:
            Tensors by name. `count` is the number of frames since the last reset, an
            int32 scalar, and `window` what is known of these: float32 of the shape
            `(past, *map_shape, num_classes)`, newest first, or `(1, ...)` of the mean
            of all. Of a model that draws, `seed`, and `number` of the next frame, int32
            scalars; where cuts are looked for, the last frame as a `thumbnail` of shape
            `(8, 8)`. All but the seed are zero.
        """
        layers.checks.check_seed(seed)
        rows = 1 if self.past is None else max(self.past, 1)
        state = {
            "count": np.zeros((), "int32"),
            "window": np.zeros((rows, *self.map_shape, self.num_classes), "float32"),
        }
        if self.draws:
            state["seed"] = np.array(seed, "uint32").astype("int32")
            state["number"] = np.zeros((), "int32")
        if self.cut is not None:
            state["thumbnail"] = np.zeros((_SIDE, _SIDE), "float32")
        return {name: ops.convert_to_tensor(value) for name, value in state.items()}

    def reset(self, state: Mapping) -> dict:
        """Returns the state in which the next frame begins a new scene.

        Its draws go on, so they are others than those of the first scene.

        Args:
            state: What `initial_state` or `step` returned.
        """
        return {**state, "count": ops.zeros_like(state["count"])}

    def step(self, frame, state: Mapping) -> tuple:
        """Takes the next frame of a stream.

        Where it is called with values, rather than inside of a compiled function, it is
        compiled.

        Args:
            frame: Tensor or array of shape `image_shape`, pixels in [0, 255].
            state: What `initial_state`, `reset` or the last step returned.

        Returns:
            The mean probabilities, a float32 tensor of shape
            `(*map_shape, num_classes)`, and the next state. Its `count` is 1 where the
            mean has begun anew.

        Raises:
            ValueError: If the frame has another shape or seems to be scaled already,
                the state is none, or there is a future, which no stream has.
        """
        if self.future:
            raise ValueError(
                "A stream has no frames that are yet to come: set future=0, or call "
                f"the posterior with a clip. Received: future={self.future}"
            )
        images = as_array(frame)[None]
        check_images(images, self.image_shape)
        check_scale(images, self)
        names = self._check_state(state)
        self.probe_once(images)
        version = self.posterior.noise_settings()
        values = tuple(state[name] for name in names)
        found = self._over_step((images, *values), (names,), version)
        keras_internals.clear_losses(self)
        return found[0], {**state, **dict(zip(names, found[1:], strict=True))}

    def _check_state(self, state):
        names = self._state_names()
        if not isinstance(state, Mapping) or not {*names} <= {*state}:
            kind = type(state).__name__
            given = ", ".join(state) if isinstance(state, Mapping) else kind
            raise ValueError(
                "`state` must be what `initial_state` or the last `step` returned, "
                f"with {', '.join(names)}. Received: {given}"
            )
        return names

    def _state_names(self):
        own = ("seed", "number") if self.draws else ()
        return ("count", "window", *own, *(("thumbnail",) if self.cut else ()))

    def _clip(self, images, key, offset):
        """Returns the mean probabilities of all frames of a clip."""
        logits = self.posterior.each(images, key, offset)
        probs = ops.reshape(ops.softmax(logits, axis=-1), (-1, self._size))
        time = ops.arange(ops.shape(images)[0], dtype="int32")
        age = time[:, None] - time[None]  # Of the frame of a column, for that of a row.
        counts = age >= -self.future
        if self.past is not None:
            counts = ops.logical_and(counts, age <= self.past)
        if self.cut is not None:
            scene = _scenes(images, self.cut)
            counts = ops.logical_and(counts, scene[:, None] == scene[None])
        weights = ops.exp(-self.rate * ops.cast(ops.abs(age), "float32"))
        weights = ops.where(counts, weights, 0.0)
        weights = weights / ops.sum(weights, axis=1, keepdims=True)
        return ops.reshape(ops.matmul(weights, probs), ops.shape(logits))

    def _advance(self, images, *values):
        """Returns the mean probabilities and the values of the next state."""
        *values, names = values
        state = dict(zip(names, values, strict=True))
        seed, number = state.get("seed", 0), state.get("number", 0)
        logits = self.posterior.each(images, seed, number)
        probs = ops.softmax(logits, axis=-1)[0]
        count = state["count"]
        if self.cut is not None:
            thumbnail = _thumbnails(images)[0]
            is_cut = _changes(thumbnail, state["thumbnail"]) > self.cut
            count = ops.where(is_cut, ops.zeros_like(count), count)
            state["thumbnail"] = thumbnail
        weights, window = self._weights_of(count), state["window"]
        before = ops.matmul(weights[None], ops.reshape(window, (-1, self._size)))
        before = ops.reshape(before, ops.shape(probs))
        mean = (probs + before) / (1.0 + ops.sum(weights))
        newest = mean if self.past is None else probs
        state["window"] = ops.concatenate([newest[None], window[:-1]], axis=0)
        state["count"] = count + 1
        if "number" in state:
            state["number"] = number + 1
        return mean, *(state[name] for name in names)

    @property
    def _size(self):
        return math.prod((*self.map_shape, self.num_classes))

    def _weights_of(self, count):
        """Returns the weights of the rows of the window, over that of a new frame."""
        count = ops.cast(count, "float32")
        if self.past is None:  # One row for all frames: the sum of their weights.
            falls = math.exp(-self.rate)
            # `1 - exp(-x)`, of which a small rate leaves nothing in float32.
            fallen = ops.exp(-self.rate * count)
            fallen = ops.tanh(self.rate * count / 2) * (1 + fallen)
            return falls * fallen[None] / -math.expm1(-self.rate)
        age = np.arange(1, max(self.past, 1) + 1, dtype="float32")
        weights = np.where(age <= self.past, np.exp(-self.rate * age), 0)
        return ops.where(ops.less_equal(age, count), weights.astype("float32"), 0.0)

    def _settings(self):
        names = "rate", "past", "future", "cut"
        return {name: getattr(self, name) for name in names}

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.posterior)
        return {**super().get_config(), "model": inner, **self._settings()}

    @classmethod
    def from_config(cls, config):
        model = keras.saving.deserialize_keras_object(config["model"])
        return cls(**{**config, "model": model})


def _frames(value, name, unless=""):
    """Returns a number of frames."""
    if value == 0 and layers.checks.is_number(value):
        return 0
    try:
        return layers.checks.check_count(value, name)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be a number of frames, 0 or more{unless}. "
            f"Received: {name}={value}"
        ) from error


def _scenes(images, cut):
    """Returns the number of the scene of each frame."""
    small = _thumbnails(images)
    is_new = _changes(small[1:], small[:-1]) > cut
    return ops.concatenate(
        [ops.zeros((1,), "int32"), ops.cumsum(ops.cast(is_new, "int32"))]
    )


def _thumbnails(images):
    """Returns frames as 8 x 8 blocks of gray, of shape `(frames, 8, 8)`."""
    gray = ops.mean(ops.cast(images, "float32"), axis=-1)
    height, width = ops.shape(gray)[1:]
    rows, columns = _blocks(height), _blocks(width)
    return ops.matmul(ops.matmul(ops.transpose(rows), gray), columns)


def _blocks(size):
    """Returns the share of each pixel in the means of blocks along an axis."""
    block = ops.arange(size, dtype="int32") * _SIDE // size
    is_inside = ops.cast(block[:, None] == np.arange(_SIDE, dtype="int32"), "float32")
    return is_inside / ops.maximum(ops.sum(is_inside, axis=0, keepdims=True), 1.0)


def _changes(first, second):
    """Returns one minus the structural similarity of small frames, from 0 to 2."""
    axes = (-2, -1)
    means = [ops.mean(x, axis=axes, keepdims=True) for x in (first, second)]
    apart = [x - mean for x, mean in zip((first, second), means, strict=True)]
    (one, other), (a, b) = (x[..., 0, 0] for x in means), apart
    level = (2 * one * other + _LEVEL) / (one**2 + other**2 + _LEVEL)
    contrasts = ops.mean(a * a, axis=axes) + ops.mean(b * b, axis=axes)
    alike = (2 * ops.mean(a * b, axis=axes) + _CONTRAST) / (contrasts + _CONTRAST)
    return 1 - level * alike
