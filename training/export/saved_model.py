"""SavedModels for servers: their signatures, checked before they are kept."""

import os

import keras
import tensorflow as tf
from keras import ops

from layers import keras_internals
from training.data.readers import label_files
from training.export import encoded_images, parity
from training.export.checked import check_decision, posterior_of, write_checked
from zoo import predictive
from zoo.conformal import Decision
from zoo.posterior import Posterior


def export_saved_model(
    model: keras.Model | Posterior,
    path: str | os.PathLike,
    num_samples: int = 10,
    overwrite: bool = False,
    images=None,
    decision: Decision | None = None,
) -> dict:
    """Exports a model for TensorFlow Serving and checks its parity with Keras.

    The signatures `serving_default` (float32) and `serve_uint8` take `images` and give
    `probabilities`, the mean over the passes, `label`, `confidence`, `entropy` and
    `mutual_information`, in nats; of a model that knows its `classes` also the
    `class_name` of the label, and `assets.extra/labels.txt` has all of them.
    `serve_encoded` takes `image_bytes`, JPEG or PNG
    files of any size. Each call draws new noise, whatever the server or the thread. A
    stochastic model has a further signature `sample` of `images`, `num_samples` and
    `seed`, int32 scalars. It also gives the `samples`, probabilities of shape
    `(num_samples, batch, num_classes)`, and the same ones for the same seed.

    With a decision all signatures also give the `prediction_set`, booleans of shape
    `(batch, num_classes)`, its `set_size`, and what is promised of all images, under
    its name: `coverage` or `risk`. A posterior with scores, such as
    `zoo.posterior.Density`, gives those too, of shape `(batch,)`.

    Args:
        model: From images to logits; or a posterior, whose samples are those of its
            own. The signature `sample` gives all or the first of them.
        path: The folder to write.
        num_samples: Forward passes of a model at each call; a deterministic one has
            one.
        overwrite: Whether to replace what lies at `path`.
        images: At least two images for the check, of shape `(count, height, width,
            channels)`; random ones by default.
        decision: What is decided from the probabilities, adapted to those of the model
            at this number of passes; see `zoo.conformal`.

    Returns:
        `path`, `bytes`, `num_samples`, `classes`, `promise`, `max_difference`,
        `tolerance`, `batch_sizes` and `seconds`.

    Raises:
        ValueError: If the model cannot be exported, or the export differs from it.
        FileExistsError: If something lies at `path`.
    """
    posterior = posterior_of(model, num_samples)
    check_decision(decision)

    def write(target):
        save(functions(posterior, decision), target)
        label_files.write(target, posterior.classes)
        return parity.saved_model_runner(target, posterior.num_samples)

    return write_checked(
        posterior, path, write, parity.TOLERANCES[None], overwrite, images, decision
    )


def functions(posterior, decision=None) -> dict:
    """Returns the signatures of a posterior by their names.

    `serving_default` takes float32 pixels, `serve_uint8` bytes, and `serve_encoded`,
    which needs a network for gray or RGB images of one size, JPEG and PNG files. Each
    call draws new noise. A network that can draw also has `sample`, which takes a seed.

    Args:
        posterior: A `zoo.posterior.Posterior`.
        decision: A `zoo.conformal.Decision`, or None.

    Returns:
        Functions of TensorFlow.
    """
    sample, draw = _samplers(posterior, decision)
    stochastic = posterior.draws

    def serve(images):
        images = tf.cast(images, tf.float32)
        noise = _new_noise() if stochastic else (0, 0)
        outputs = dict(draw(images, posterior.num_samples, *noise))
        del outputs["samples"]
        return outputs

    def serve_encoded(image_bytes):
        return serve(encoded_images.decode(image_bytes, posterior.image_shape))

    signatures = {
        "serving_default": tf.function(serve, [spec(posterior)]),
        "serve_uint8": tf.function(serve, [spec(posterior, "uint8")]),
    }
    if None not in posterior.image_shape and posterior.image_shape[2] in (1, 3):
        # REST transfers what has a name in `_bytes` in base 64.
        files = tf.TensorSpec((None,), tf.string, name="image_bytes")
        signatures["serve_encoded"] = tf.function(serve_encoded, [files])
    if stochastic:
        signatures["sample"] = sample
    return signatures


def _samplers(posterior, decision):
    """Returns the signature `sample` and what all signatures share."""
    images, scalars_ = spec(posterior), scalars("num_samples", "seed")

    # The file holds the network once.
    @tf.function(input_signature=[images, *scalars_, *scalars("offset")])
    def draw(images, num_samples, seed, offset):
        tf.debugging.assert_positive(num_samples, "`num_samples` must be positive.")
        if posterior.max_samples is not None:
            limit, said = posterior.max_samples, "`num_samples` can at most be"
            check = tf.debugging.Assert(num_samples <= limit, [said, limit])
            with tf.control_dependencies([check]):
                images = tf.identity(images)
        logits, scores = posterior.first_scored(images, seed, offset, num_samples)
        keras_internals.clear_losses(posterior)  # They are tensors of the graph.
        found = _outputs(logits, posterior.classes, decision)
        return {**found, **scores, "samples": ops.softmax(logits, axis=-1)}

    @tf.function(input_signature=[images, *scalars_])
    def sample(images, num_samples, seed):
        return draw(images, num_samples, seed, 0)

    return sample, draw


def spec(posterior, dtype: str = "float32", batch: int | None = None) -> tf.TensorSpec:
    """Returns the specification of a batch of images, by default of any size."""
    return tf.TensorSpec((batch, *posterior.image_shape), dtype, name="images")


def scalars(*names: str) -> list[tf.TensorSpec]:
    """Returns the specifications of int32 scalars."""
    return [tf.TensorSpec((), tf.int32, name=name) for name in names]


@tf.autograph.experimental.do_not_convert  # It branches on no tensor.
def _outputs(logits, classes, decision):
    probs = predictive.probs(logits)
    found = {
        "probabilities": probs,
        # Probabilities have no negative zeros, for which that of Keras has a bitcast.
        "label": tf.argmax(probs, axis=-1, output_type=tf.int32),
        "confidence": ops.max(probs, axis=-1),
        "entropy": predictive.entropy(logits),
        "mutual_information": predictive.mutual_information(logits),
    }
    if decision is not None:
        found |= decision.summary(probs)
    if classes:
        found["class_name"] = tf.gather(tf.constant(classes), found["label"])
    return found


@tf.autograph.experimental.do_not_convert
def _new_noise():
    """Returns a key and the number of the first image, both random.

    Two calls share noise if both numbers agree, for which 62 bits leave little chance.
    """
    return _new_number(tf.int32.min, tf.int32.max), _new_number(0, 1 << 30)


def _new_number(low: int, high: int):
    # The two zeros make the kernel seed itself from the system, in every process anew;
    # `tf.random` would bake a global seed in. Its counter is locked between threads.
    low, high = tf.constant(low, tf.int32), tf.constant(high, tf.int32)
    shape = tf.constant([], tf.int32)
    return tf.raw_ops.RandomUniformInt(
        shape=shape, minval=low, maxval=high, seed=0, seed2=0
    )


def save(signatures: dict, folder: str | os.PathLike):
    """Writes a SavedModel that holds the variables that its functions read.

    Args:
        signatures: Functions of TensorFlow by name.
        folder: Where nothing is yet.

    Raises:
        ValueError: If one of them changes variables.
    """
    module = tf.Module()
    signatures = {name: f.get_concrete_function() for name, f in signatures.items()}
    module.state = [f.variables for f in signatures.values()]
    for graph in (f.graph.as_graph_def() for f in signatures.values()):
        bodies = [graph.node, *(f.node_def for f in graph.library.function)]
        names = [n.name for body in bodies for n in body if n.op.startswith("Assign")]
        if names:
            raise ValueError(
                "The model changes variables when it predicts, which every server "
                "would start anew; draw random numbers by `layers.RandomLayer` alone. "
                f"Received: {names[0]}"
            )
    tf.saved_model.save(module, os.fspath(folder), signatures=signatures)
