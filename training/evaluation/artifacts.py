"""Exported files and served models, evaluated as they are."""

import keras
import numpy as np
from absl import logging
from keras import ops

from layers import tracing
from training.evaluation import external_outputs
from training.runtimes import places
from zoo.posterior import Posterior
from zoo.posterior.base import layer_name

_STEP = 0x9E3779B9  # Between the seeds of two calls for the same images.


@keras.saving.register_keras_serializable(package="training")
class Artifact(Posterior):
    """What a runtime or a server predicts, as a posterior for an evaluation.

    A sample is the prediction of a call: of one forward pass, or the mean of as many as
    the file averages, `passes_per_sample`. Of probabilities it is the logarithm. A
    batch that begins with image `i` is passed with the seed `seed + i`, since files
    number the images of a batch from 0: the first batch has the draws of Keras, and no
    two batches have the same. Other calls for the same images have seeds far from it.

    It runs outside of Keras, so it can be called with values alone, and neither be
    exported nor be compiled.

    Args:
        place: What `training.runtimes.places.open_network` opens.
        num_samples: Forward passes, if it draws; where a call averages several, as many
            calls as have no more of them, but one at least.
        outputs: What outputs are that have no name of `external_outputs.NAMES`:
            `"logits"` or `"probs"`.
        input_range: What it takes in place of pixels from 0 to 255.
        classes: Names of the classes in the order of its outputs, if it does not know
            them itself.

    Input shape: `(batch, height, width, channels)`.

    Output shape: `(calls, batch, num_classes)`.

    Raises:
        ValueError: If it gives no predictions of images, or other ones than `outputs`
            says. `open_network` has more errors.
    """

    runs_elsewhere = True
    adapts_to = ()

    def __init__(
        self,
        place: str,
        num_samples: int = 1,
        outputs: str = "logits",
        input_range=(0.0, 255.0),
        classes=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.place, self._asked, self._said = str(place), num_samples, outputs
        self.input_range = external_outputs.checked(outputs, input_range)
        self.own_name = places.name_of(self.place)
        self._network = places.open_network(self.place, num_samples)
        self._check_range()
        self._key, self._kind = self._choose(outputs)
        self.image_shape = self._network.image_shape
        self.classes = tuple(self._network.classes or classes)
        if classes and tuple(classes) != self.classes:
            raise ValueError(
                f"The model '{self.place}' has the classes {', '.join(self.classes)}. "
                f"Received: classes={','.join(classes)}"
            )
        self._probe()

    def sample(self, images, key, offset):
        if not tracing.is_known(images):
            raise ValueError(
                f"'{self.own_name}' is run outside of Keras, so no function that is "
                "compiled or exported can call it."
            )
        images, key, offset = map(ops.convert_to_numpy, (images, key, offset))
        seed, network = int(key) + int(offset), self._network

        def passed(pixels, start):
            if network.sample is not None:
                own = _as_int32(seed + start)
                return network.sample(pixels, own, self.num_samples)
            calls = [seed + start + _STEP * call for call in range(self.num_samples)]
            found = [network.run(pixels, _as_int32(own)) for own in calls]
            return np.stack([outputs[self._key] for outputs in found])

        found = self._in_batches(self._scaled(images), passed)
        shape = *self.map_shape, self.num_classes
        if found.shape[2:] != shape:
            raise ValueError(
                f"'{self.place}' gives predictions of shape {found.shape[2:]}, and "
                f"gave {shape} before. Has another model come in its place?"
            )
        return ops.convert_to_tensor(
            external_outputs.as_logits(found, self._kind, network.is_rounded)
        )

    def _in_batches(self, pixels, passed):
        """Returns predictions of any number of images, of shape `(calls, images, ...)`.

        Args:
            pixels: Array of shape `(images, *image_shape)`.
            passed: From as many of them as the network takes, and the number of the
                first one, to their predictions.
        """
        size, parts = self._network.batch or max(len(pixels), 1), []
        for start in range(0, max(len(pixels), 1), size):
            part = pixels[start : start + size]
            count = len(part)
            if self._network.batch:  # Of a last one there may be too few.
                padding = [(0, size - count)] + [(0, 0)] * (pixels.ndim - 1)
                part = np.pad(part, padding)
            found = np.asarray(passed(part, start))
            if found.ndim < 3 or found.shape[1] != len(part):
                raise ValueError(
                    f"'{self.place}' must give a prediction for each image. Received: "
                    f"{found.shape[1:]} of {len(part)} images"
                )
            parts.append(found[:, :count])
        return np.concatenate(parts, axis=1)

    def _scaled(self, images):
        low, high = self.input_range
        pixels = images.astype("float32")
        if (low, high) != (0.0, 255.0):
            pixels = pixels * np.float32((high - low) / 255) + np.float32(low)
        dtype = self._network.dtype
        return np.rint(pixels) if np.issubdtype(dtype, np.integer) else pixels

    def _check_range(self):
        """Checks that an input of whole numbers can hold what it is to be given."""
        dtype, (low, high) = self._network.dtype, self.input_range
        if not np.issubdtype(dtype, np.integer):
            return
        limits = np.iinfo(dtype)
        if low < limits.min or high > limits.max or high - low < 255:
            raise ValueError(
                f"'{self.place}' takes whole numbers of the type {dtype}, which do not "
                f"hold 256 levels in this range. Received: input_range={low:g},{high:g}"
            )

    def _choose(self, outputs):
        """Returns the name of the output that counts, and what it is."""
        given = self._network.outputs
        for kind in (outputs, *external_outputs.NAMES):
            for name in external_outputs.NAMES[kind]:
                if name in given:
                    return name, kind
        if len(given) != 1:
            known = [n for names in external_outputs.NAMES.values() for n in names]
            raise ValueError(
                f"'{self.place}' must have one output, or one of the name "
                f"{' or '.join(known)}. Received: outputs {sorted(given)}"
            )
        return given[0], outputs

    def _probe(self):
        """Learns from two calls what it gives, and whether it draws."""
        network = self._network
        images = self._scaled(external_outputs.noise(self.image_shape))

        def passed(seed):
            def run(part, _):
                return network.run(part, seed)[self._key][None]

            return self._in_batches(images, run)[0]

        found = passed(0)
        if found.ndim not in (2, 4) or found.shape[-1] < 2:
            raise ValueError(
                f"'{self.place}' must give (batch, num_classes), or (batch, height, "
                f"width, num_classes), with two classes at least. Received: "
                f"{found.shape}"
            )
        self.num_classes, self.map_shape = found.shape[-1], found.shape[1:-1]
        self._check_classes()
        external_outputs.check(found, self._kind, self.own_name, network.is_rounded)
        self.repeats_itself = np.array_equal(found, passed(1))
        averaged = network.num_samples or 1
        self.passes_per_sample = 1 if self.repeats_itself else averaged
        self.num_samples = 1
        if not self.repeats_itself:
            self.num_samples = max(1, self._asked // averaged)
        unknown = ["energy", "max_logit"] if self._kind == "probs" else []
        unknown += ["mutual_information"] if self.passes_per_sample > 1 else []
        self.unknown_scores = tuple(unknown)
        self.form = f"{network.content()} {self._key} {self._kind} {self.input_range}"
        self.form += f" {averaged}"
        if network.is_served and (self.repeats_itself or network.takes_seed):
            self.form += f" {np.round(found.astype('float64'), 4).tolist()}"

    def _check_classes(self):
        if self.classes and len(self.classes) != self.num_classes:
            raise ValueError(
                f"'{self.place}' gives predictions of {self.num_classes} classes. "
                f"Received: {len(self.classes)} names of classes"
            )

    @property
    def takes_seed(self) -> bool:
        """Whether its noise follows the seed."""
        return self._network.takes_seed

    @property
    def says_passes(self) -> bool:
        """Whether it is known of how many forward passes a call is the mean."""
        network = self._network
        is_known = network.sample is not None or network.num_samples is not None
        return self.repeats_itself or is_known

    @property
    def card(self) -> str:
        """The model that it was made of, if its name says so."""
        return self.own_name.rpartition(".")[0] or self.own_name

    def get_config(self):
        return {
            **super().get_config(),
            "place": self.place,
            "num_samples": self._asked,
            "outputs": self._said,
            "input_range": self.input_range,
            "classes": self.classes,
        }


def load(place: str, num_samples: int, **settings) -> Artifact:
    """Opens what a user names, and says what the rows of it are.

    Args:
        place: What `training.runtimes.places.open_network` opens.
        num_samples: The largest number of forward passes.
        **settings: As `Artifact` has them.
    """
    name = places.name_of(place)
    artifact = Artifact(place, num_samples, **settings, seed=0, name=layer_name(name))
    if (averaged := artifact.passes_per_sample) > 1:
        logging.info(
            "A call of '%s' is the mean of %d forward passes, so its rows are of "
            "multiples of these.",
            *(name, averaged),
        )
    elif num_samples > 1 and not artifact.says_passes:
        logging.warning(
            "'%s' does not say how many forward passes a call averages, which programs "
            "that rewrite a file leave out; each call counts as one.",
            name,
        )
    if not artifact.repeats_itself and not artifact.takes_seed:
        logging.info("'%s' draws by itself: its noise does not follow the seed.", name)
    return artifact


def _as_int32(seed: int) -> int:
    return (seed + 2**31) % 2**32 - 2**31
