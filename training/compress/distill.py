"""Distillation: what a network learns of the predictions of others."""

import keras
from keras import ops

import zoo
from layers import gradients, random, streams
from layers.special import log_gamma
from training import objective
from zoo import finding, loading, predictive
from zoo.classifier import classes_of, match
from zoo.posterior import Posterior
from zoo.posterior.monte_carlo import as_posterior
from zoo.posterior.prior_network import log_concentrations
from zoo.registry import split_posterior

_DRAWS = 0x7EAC  # Folded into the seed of a training.
NUM_SAMPLES = 10  # Passes of a teacher that draws, unless its name says it.


def load_teacher(name: str, weights: str = "") -> Posterior:
    """Returns a network, or several, from which another one learns.

    Args:
        name: What `zoo.load` takes, or several names joined by `+`, an ensemble; with a
            posterior behind an @, or else a network that draws has 10 passes.
        weights: A file, a folder or a URL in place of published weights, or several
            joined by `+`; empty for published ones.

    Raises:
        ValueError: If there is no such network, or its posterior has not adapted.
    """
    of_models, _ = split_posterior(name)
    if len(finding.members(of_models, weights or None)) == 1:
        found = as_posterior(zoo.load(name, weights=weights or None), NUM_SAMPLES)
    else:
        found = loading.load_several(name, weights=weights or None)
    if not found.is_adapted:
        raise ValueError(
            "A teacher must know what its posterior has to learn: publish it with its "
            f"weights, or take another posterior. Received: teacher={name}"
        )
    return found


class Teacher:
    """The predictions of a posterior for the images of the steps of a training.

    They are those of the images as the student gets them, augmented, with new draws in
    each step, and have no gradient.

    Args:
        posterior: What is learned from.
        model: The student.
        name: What the teacher is called in errors.

    Attributes:
        num_samples: How many predictions each image has.
        step: Variable of the number of steps, for `Objective.variables`.

    Raises:
        ValueError: If it has other classes or takes other images.
    """

    def __init__(self, posterior: Posterior, model: keras.Model, name: str):
        self._posterior, self._order = posterior, None
        self.num_samples = posterior.num_samples
        self.step = keras.Variable(
            0, dtype="int32", trainable=False, name="teacher_step"
        )
        own, others = classes_of(model), classes_of(posterior)
        if posterior.num_classes != model.output_shape[-1]:
            raise ValueError(
                f"The teacher '{name}' has other classes than the network that learns "
                f"from it. Received: {posterior.num_classes} classes of the teacher, "
                f"{model.output_shape[-1]} of the network"
            )
        if own and others:
            order = match(own, others, "the network", f"the teacher '{name}'")
            self._order = None if order == tuple(sorted(order)) else list(order)
        shape, wanted = model.input_shape[1:], posterior.image_shape
        if any(a not in (None, b) for a, b in zip(wanted, shape, strict=True)):
            raise ValueError(
                f"The teacher '{name}' takes images of shape {wanted}, and the network "
                f"that learns from it {shape}."
            )
        if tuple(model.output_shape[1:-1]) != posterior.map_shape:
            raise ValueError(
                f"The teacher '{name}' returns logits of shape {posterior.map_shape} "
                f"for an image, and the network {model.output_shape[1:-1]}."
            )

    def logits(self, images, seed: int):
        """Returns the logits of a step, and counts it.

        Args:
            images: Tensor of shape `(batch, height, width, channels)`.
            seed: Seed of the training.

        Returns:
            float32 tensor of shape `(num_samples, batch, ..., num_classes)`, in the
            order of the classes of the student.
        """
        key = random.fold(random.fold(seed, _DRAWS), self.step.value)
        self.step.assign(self.step + 1)
        with gradients.untracked():
            samples = self._posterior.first(
                ops.cast(images, "float32"),
                streams.of_replica(key),
                0,
                self.num_samples,
            )
        samples = ops.stop_gradient(ops.cast(samples, "float32"))
        if self._order is not None:
            samples = ops.take(samples, ops.array(self._order, "int32"), axis=-1)
        return samples


def divergence(samples, logits, temperature: float = 1.0):
    """Returns the KL divergence of predictions from the mean of those of a teacher.

        T^2 * KL(mean(softmax(samples / T)) || softmax(logits / T))

    The factor keeps gradients of one size at all temperatures.

    Args:
        samples: Logits of the teacher, of shape `(num_samples, batch, ...,
            num_classes)`.
        logits: Those of the student, of shape `(batch, ..., num_classes)`.
        temperature: The temperature T, positive.

    Returns:
        float32 tensor of shape `(batch, ...)`, in nats.

    Reference:
        [Distilling the Knowledge in a Neural Network](
        https://arxiv.org/abs/1503.02531) (Hinton et al., 2015), section 2.
    """
    logs = predictive.log_probs(ops.cast(samples, "float32") / temperature)
    scaled = ops.cast(logits, "float32") / temperature
    return temperature**2 * objective.divergence(logs, scaled)


def dirichlet_loss(samples, logits, temperature=1.0, smoothing: float = 1e-4):
    """Returns how unlikely predictions of a teacher are in a Dirichlet distribution.

    That is minus the logarithm of their density, the mean over the samples, where the
    concentrations are the exponentials of `logits / temperature`.

    Args:
        samples: Logits of the teacher, of shape `(num_samples, batch, num_classes)`.
        logits: Those of the student, of shape `(batch, num_classes)`.
        temperature: A number or a scalar tensor, by which those of both are divided.
        smoothing: The part of a probability that is spread over all classes, so that
            none is zero.

    Returns:
        float32 tensor of shape `(batch,)`, in nats.

    Reference:
        [Ensemble Distribution Distillation](https://arxiv.org/abs/1905.00076)
        (Malinin et al., 2020), section 3.
    """
    probs = ops.softmax(ops.cast(samples, "float32") / temperature, axis=-1)
    probs = (1 - smoothing) * probs + smoothing / samples.shape[-1]
    logs = ops.mean(ops.log(probs), axis=0)
    scaled = ops.cast(logits, "float32") / temperature
    concentrations = ops.exp(log_concentrations(scaled))
    total = log_gamma(ops.sum(concentrations, axis=-1))
    each = (concentrations - 1) * logs - log_gamma(concentrations)
    return -(total + ops.sum(each, axis=-1))
