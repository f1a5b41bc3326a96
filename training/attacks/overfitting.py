"""Catastrophic overfitting: robust to the attack of the training, and to no other."""

import keras
import numpy as np
from absl import logging
from keras import ops

import layers
from layers import compilation
from training import attacks
from training.attacks import whole_set

NUM_IMAGES = 1_000  # Of the validation set, of each class its share.
STEPS = 5
_GROWTH = 0.2  # Of the difference of the two accuracies, when it is noticed.


class RobustAccuracy:
    """The accuracy under a weak and a stronger attack, along a training.

    A network that is trained with images of a single step along the gradient may learn
    to bend its loss within that step: from one epoch to the next it classifies such
    images as well as others, and nearly none of those that a few smaller steps find.
    This is measured on images of the validation set after each epoch, by FGSM and by
    `STEPS` steps of PGD, each of a quarter of the size of the attack, from a random
    start. It is noticed when the difference of the two accuracies has grown by more
    than a fifth since it was smallest, and PGD leaves less than half of what FGSM
    leaves; the smallest counts from before the first step on.

    Args:
        epsilon: Size of the attacks, in gray levels of `[0, 255]`.
        batch_size: Images per step.

    Attributes:
        variables: The two accuracies where their difference was smallest.

    Reference:
        [Fast is better than free: Revisiting adversarial training](
        https://arxiv.org/abs/2001.03994) (Wong et al., 2020), section 5.4, where one
        batch of the training set is attacked.
    """

    def __init__(self, epsilon: float, batch_size: int):
        self.epsilon, self.batch_size = epsilon, batch_size
        # As far apart as they can be.
        self._best = keras.Variable(
            np.array([1.0, 0.0], "float32"), trainable=False, name="robust_accuracy"
        )
        self.variables = (self._best,)
        self._data = self._program = None

    def adapt(self, data, validation):
        """Takes images of the validation set; without one, nothing is measured.

        Args:
            data: The training set.
            validation: The validation set, a `training.data.ImageData`, or None.
        """
        if validation is None:
            logging.info(
                "Without a validation set, catastrophic overfitting goes unnoticed."
            )
            return
        self._data = validation.sample(NUM_IMAGES)

    def begin_epoch(self, model: keras.Model, epoch: int):
        """Measures the network before its first step."""
        if self._data is not None and epoch == 0:
            self._best.assign(self._measured(model))

    def end_epoch(self, model: keras.Model, epoch: int) -> dict[str, float]:
        """Measures the network, warns of overfitting, and returns both accuracies.

        Args:
            model: From images to logits.
            epoch: The number of the epoch, from 0.

        Returns:
            `val_fgsm_accuracy`, `val_pgd_accuracy`, and as `catastrophic_overfitting` 1
            where it is noticed and 0 elsewhere. Nothing without a validation set.

        Raises:
            FloatingPointError: If a loss is not finite inside of an attack.
        """
        if self._data is None:
            return {}
        now, best = self._measured(model), ops.convert_to_numpy(self._best)
        (fgsm, pgd), difference = now, now[0] - now[1]
        has_grown = difference > best[0] - best[1] + _GROWTH
        is_noticed = bool(has_grown and pgd < fgsm / 2)
        if is_noticed:
            logging.warning(
                "Catastrophic overfitting in epoch %d: of %d validation images, "
                "%.1f %% are right after FGSM and %.1f %% after %d steps of PGD; it "
                "was %.1f %% and %.1f %%. Try the method 'flc', a random start, a "
                "smaller epsilon or the objective 'pgd'. `--set=snapshots=...` keeps "
                "the weights of several epochs.",
                epoch + 1,
                len(self._data),
                *(100 * fgsm, 100 * pgd, STEPS),
                *(100 * best),
            )
        if difference < best[0] - best[1]:
            self._best.assign(now)
        return {
            "val_fgsm_accuracy": float(fgsm),
            "val_pgd_accuracy": float(pgd),
            "catastrophic_overfitting": float(is_noticed),
        }

    def _measured(self, model):
        """Returns the accuracies under FGSM and under PGD, float32."""
        if self._program is None:
            self._program = compilation.program(self._step(model), owner=model)
        title = "Attacks on the validation set"
        found = whole_set.compute(self._program, self._data, self.batch_size, title)
        return np.array([right.mean() for right in found], "float32")

    def _step(self, model):
        settings = (
            {"step_size": self.epsilon, "steps": 1, "random_start": False},
            {"step_size": self.epsilon / 4, "steps": STEPS},
        )

        def step(images, labels, start):
            found = []
            for own in settings:
                moved = attacks.pgd(
                    model, images, labels, self.epsilon, offset=start, **own
                )
                with layers.stream(0, start):
                    logits = model(moved, training=False)
                predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
                right = ops.equal(predicted, ops.cast(labels, "int32"))
                right = ops.cast(right, "float32")
                is_image = ops.isfinite(moved[:, 0, 0, 0])
                found.append(ops.where(is_image, right, np.float32("nan")))
            return found

        return step
