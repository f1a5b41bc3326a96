"""Export for devices: LiteRT files of built-in operators alone, checked before use."""

import contextlib
import os
import re
import warnings
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import layers
from layers import keras_internals
from layers.blur import convolved
from layers.quantization import rounded_taps
from layers.variational import GaussianKernel
from training import data
from training.data import loading
from training.data.readers import label_files
from training.export import checked, flatbuffer, parity, saved_model
from training.runtimes import litert as runtime
from zoo import quantization as integers
from zoo.conformal import Decision
from zoo.folding import fold
from zoo.posterior import Posterior

DTYPES = ("float32", "uint8")
# Among 8-bit integers these stay in floating point: an integer holds no probability
# below 1/256, so most would be zero, and a mean of few numbers costs nothing.
_FLOAT_OPERATORS = ("SOFTMAX", "MEAN")
_NUM_CHECKED = 8  # Calibration images that parity is checked on.
# Recipes of ai-edge-quantizer, which reads files in float32.
_RECIPES = {
    "weight_only": "weight_only_wi8_afp32",
    "int4": "dynamic_wi4_afp32",
    "weight_only_int4": "weight_only_wi4_afp32",
}
# Where kernels of taps stay as they are, or in 8 bits have one scale for each channel.
_CONVOLVED = (None, "float16", "int8")
CALIBRATION_COUNT = 200  # By default; of a smaller set it is all images.


def export_tflite(
    model: keras.Model | Posterior,
    path: str | os.PathLike,
    num_samples: int = 10,
    quantization: str | None = None,
    overwrite: bool = False,
    images=None,
    calibration=None,
    input_dtype: str = "float32",
    decision: Decision | None = None,
    batch: int | None = None,
    spread: bool = False,
) -> dict:
    """Exports a model for LiteRT, of built-in operators alone, and checks its parity.

    The signature takes `images`, raw pixels in any batch size or in a fixed one, and
    gives `probabilities` in float32. For a stochastic model it also takes a `seed`, an
    int32 scalar; the probabilities are then the mean over `num_samples` passes, and
    another seed draws other noise. If the model knows the names of its `classes`, the
    file ends with `labels.txt`, which has them; see
    `training.data.readers.label_files`. That of a stochastic model has
    `num_samples.txt` there, too. Scores of a posterior are further outputs, in float32
    alone.

    Args:
        model: From images to logits, or a posterior.
        path: The file to write.
        num_samples: Forward passes of a model at each call; a deterministic one has
            one.
        quantization: `"float16"` keeps the weights in half precision, `"dynamic"` in 8
            bits, and then quantizes activations as they come; `"int8"` computes with 8
            bits throughout, but for the probabilities. `"weight_only"` keeps weights in
            8 bits and computes in float32, `"int4"` and `"weight_only_int4"` are the
            same in 4 bits; these three are made by ai-edge-quantizer. A network that
            was trained to compute as integers do, as `zoo.quantization.quantized` makes
            it, takes `"int8"` or, with weights of 4 bits, `"int4"`, and no calibration:
            its integers are those that it was trained with.
        overwrite: Whether to replace what lies at `path`.
        images: At least two images for the check, of shape `(count, height, width,
            channels)`; by default some of `calibration`, or else random ones.
        calibration: For `"int8"`, some hundred images as the model will see, of shape
            `(count, height, width, channels)`; they fix the ranges of activations.
        input_dtype: Type of `images`: `"float32"`, or `"uint8"`, as cameras and
            decoders give pixels.
        decision: What is decided from the probabilities, in float32 alone; it adds the
            outputs that `export_saved_model` says.
        batch: How many images each call has, for runtimes that take no other number
            than the file says, as in browsers; by default any number.
        spread: Whether the mean of several passes comes with the `expected_entropy`,
            the mean of the entropies of the passes, in nats; without quantization
            alone.

    Returns:
        As `export_saved_model`.

    Raises:
        ImportError: If ai-edge-quantizer is needed, and not installed.
        ValueError: If the model cannot be exported, or the export differs from it.
        FileExistsError: If something lies at `path`.
    """
    layers.checks.check_choice(quantization, "quantization", parity.TOLERANCES)
    layers.checks.check_choice(input_dtype, "input_dtype", DTYPES)
    if batch is not None:
        layers.checks.check_count(batch, "batch")
    is_aware = isinstance(model, keras.Layer) and integers.is_quantized(model)
    if is_aware:
        _check_aware(model, quantization, calibration)
    else:
        _check_calibration(quantization, calibration)
    checked.check_decision(decision)
    if decision is not None and quantization:
        raise ValueError(
            "The promise of a decision is of the probabilities that it has adapted to, "
            "and quantized weights have others; export it in float32. Received: "
            f"quantization={quantization}, decision={decision.name}"
        )
    posterior = checked.posterior_of(model, num_samples)
    check_precision(posterior)
    if quantization:
        checked.check_scores(
            posterior,
            f"these are of features in float32, and {quantization} rounds them; "
            "export it without quantization",
        )
    check_gradients(posterior)
    if calibration is not None:
        _check_kernels(posterior)
        calibration = parity.check_images(
            calibration, posterior.image_shape, "calibration"
        )
        images = calibration[:_NUM_CHECKED] if images is None else images

    def write(target):
        folder = target.parent / "saved_model"
        convolves = quantization in _CONVOLVED or is_aware
        function = device_function(
            posterior, input_dtype, decision, batch, convolves, spread
        )
        saved_model.save({"serving_default": function}, folder)
        inputs = _inputs(function, calibration)
        if quantization in _RECIPES and not is_aware:
            target.write_bytes(
                _quantized(convert(folder, None), target.parent, quantization)
            )
        else:
            target.write_bytes(convert(folder, quantization, inputs, is_aware))
        label_files.attach(target, posterior.classes)
        if posterior.draws:
            runtime.attach_num_samples(target, posterior.num_samples)
        return runtime.open_network(target).run

    tolerance = parity.TOLERANCES[quantization]
    return checked.write_checked(
        posterior, path, write, tolerance, overwrite, images, decision, batch
    )


def calibration_images(
    name: str,
    count: int | None = None,
    image_size=data.IMAGE_SIZE,
    data_dir: str | None = None,
) -> np.ndarray:
    """Returns images of a data set for the calibration, spread evenly over it.

    Args:
        name: What `training.data.load` takes. The training images, or the test images
            where those are not on this machine; labels are not used.
        count: How many; by default 200, or all where there are fewer, which is said.
        image_size: Height and width of images that have no size of their own.
        data_dir: Where the data lie; see `training.data.load`.

    Returns:
        Array of shape `(count, height, width, channels)`.

    Raises:
        ValueError: If there are fewer images than `count`, or `count` is less than two.
    """
    try:
        images = data.load(name, "train", data_dir, image_size).images
    except FileNotFoundError:
        images = data.load(name, "test", data_dir, image_size).images
    count = loading.default_count(count, CALIBRATION_COUNT, len(images), "calibration")
    if not 2 <= count <= len(images):
        raise ValueError(
            f"Data set '{name}' has {len(images)} images, and a calibration takes some "
            "hundred of them, at least 2; `--calibration_count` says how many. "
            f"Received: count={count}"
        )
    return np.asarray(images[np.arange(count) * len(images) // count])


def check_precision(model: keras.Layer):
    """Checks that all layers compute in float32, as interpreters on devices do.

    Those of `keras.Model.quantize` do not.

    Raises:
        ValueError: If a layer does not.
    """
    for layer in keras_internals.flat_layers(model):
        if mode := getattr(layer, "quantization_mode", None):
            raise ValueError(
                "The model was quantized by Keras, which few runtimes compute alike: "
                "export it as it was before, with `--format=tflite --quantization`. "
                f"Received: layer={layer.name}, quantization_mode={mode}"
            )
        if layer.compute_dtype in ("float16", "bfloat16", "float64"):
            raise ValueError(
                "The model must compute in float32: build it again, under "
                '`keras.config.set_dtype_policy("float32")`, and load its weights. '
                f"Received: layer={layer.name}, compute_dtype={layer.compute_dtype}"
            )


def check_gradients(posterior: Posterior):
    """Checks that predictions compute no gradients, for which there are no operators.

    Raises:
        ValueError: If they do.
    """
    if posterior.takes_gradients:
        raise ValueError(
            "Its predictions compute gradients of the network, for which this format "
            'has no operators: export it as saved_model, or take subset="last_layer", '
            f"whose variance is a closed form. Received: model={posterior.name}"
        )


def _check_calibration(quantization, calibration):
    if (quantization == "int8") != (calibration is not None):
        raise ValueError(
            "`calibration`, some hundred images, fixes the ranges of activations for "
            '`quantization="int8"`, and for that alone. Received: '
            f"quantization={quantization}, calibration="
            f"{None if calibration is None else 'images'}"
        )


def _check_aware(model, quantization, calibration):
    """Checks what is asked of a network that computes as integers do."""
    kind = f"int{integers.weight_bits(model)}"
    if quantization != kind:
        raise ValueError(
            "The network was trained to compute as integers do, which its file has: "
            f"export it with `quantization={kind}`. Received: quantization="
            f"{quantization}, model={model.name}"
        )
    if calibration is not None:
        raise ValueError(
            "The network was trained with its ranges: there is nothing to calibrate. "
            f"Received: calibration=images, model={model.name}"
        )


def check_reals(model: keras.Layer):
    """Checks that a network was not trained to compute as integers do.

    Raises:
        ValueError: If it was: formats but LiteRT's are for real numbers.
    """
    if integers.is_quantized(model):
        raise ValueError(
            "The network was trained to compute as integers do, which a file of LiteRT "
            "holds: `--format=tflite --quantization=int"
            f"{integers.weight_bits(model)}`. Received: model={model.name}"
        )


def _check_kernels(model):
    drawn = [
        layer.name
        for layer in keras_internals.flat_layers(model)
        if _draws_kernel(layer)
    ]
    if drawn:
        raise ValueError(
            "The convolutions and products of LiteRT in 8 bits have kernels that do "
            'not change, but Flipout draws them; `quantization="dynamic"` keeps the '
            f"stored weights in 8 bits. Received: quantization=int8, layer={drawn[0]}"
        )


def _draws_kernel(layer):
    return isinstance(layer, GaussianKernel)


def device_function(
    posterior: Posterior,
    input_dtype: str = "float32",
    decision: Decision | None = None,
    batch: int | None = None,
    convolves: bool = False,
    spread: bool = False,
):
    """Returns a `tf.function` of `images`, and of a `seed` where noise is drawn.

    Args:
        posterior: What is exported.
        input_dtype: Type of the images.
        decision: What is exported with it, if anything.
        batch: How many images a call has, by default any number.
        convolves: Whether blurs that pad are convolutions, or all of them where
            networks compute as integers do; see `layers.blur.convolved`.
        spread: As `export_tflite` says.

    Returns:
        A function to a dict, from `probabilities` on.
    """
    is_aware = integers.is_quantized(posterior)
    posterior = for_files(posterior, is_aware)
    rounded = rounded_taps if is_aware else None
    specs = [saved_model.spec(posterior, input_dtype, batch)]
    if posterior.draws:
        specs += saved_model.scalars("seed")

    def classify(images, seed=None):
        images = ops.cast(images, "float32")
        softmax = _softmax if is_aware else ops.softmax
        with convolved(rounded) if convolves else contextlib.nullcontext():
            probs, scores = checked.scored(posterior, images, seed, softmax, spread)
        found = {"probabilities": probs, **scores}
        if decision is not None:
            found |= decision.summary(found["probabilities"])
        return found

    return tf.function(classify, specs)


def for_files(posterior: Posterior, is_aware: bool = False) -> Posterior:
    """Returns the posterior of networks as files have them: folded.

    Args:
        posterior: What is exported.
        is_aware: Whether its networks were trained to compute as integers do.
    """
    if is_aware:
        return posterior.with_models(integers.settled)
    with contextlib.suppress(ValueError):  # Of networks that are no graphs.
        return posterior.with_models(lambda model: fold(model, keeps_borders=True))
    return posterior


def _softmax(logits):
    """Returns probabilities of operators that the converter leaves in float32.

    It would take a softmax, and what looks like one, for that of integers, whose steps
    are of 1 / 256. A square of roots does not look like one.
    """
    roots = ops.exp((logits - ops.max(logits, axis=-1, keepdims=True)) / 2)
    powers = roots * roots
    return powers / ops.sum(powers, axis=-1, keepdims=True)


def _inputs(function, calibration) -> Callable[[], Iterator[dict]] | None:
    """Returns a function that gives inputs one by one, another seed for each image."""
    if calibration is None:
        return None
    images, *seeds = function.input_signature

    def generate():
        for seed, image in enumerate(calibration):
            rows = np.repeat(image[None], images.shape[0] or 1, axis=0)
            inputs = {"images": rows.astype(images.dtype.as_numpy_dtype)}
            yield inputs | ({"seed": np.array(seed, "int32")} if seeds else {})

    return generate


def convert(
    folder: str | os.PathLike,
    quantization: str | None,
    inputs: Callable | None = None,
    is_aware: bool = False,
) -> bytes:
    """Returns the content of a LiteRT file.

    Args:
        folder: A SavedModel.
        quantization: As `export_tflite` takes it.
        inputs: Gives inputs, which calibrate the ranges of 8 bits.
        is_aware: Whether the network was trained to compute as integers do.

    Raises:
        ValueError: If LiteRT cannot run the model.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if quantization else []
    converter.representative_dataset = inputs
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    by_ranges = quantization == "int8" and not is_aware
    try:
        run = _to_integers if by_ranges else type(converter).convert
        content = run(converter)
        if is_aware and quantization == "int4":
            content = flatbuffer.in_four_bits(content)
        return flatbuffer.compact(content)
    except Exception as error:  # The converter has no public type of its own.
        missing = sorted(set(re.findall(r"'(tf\.\w+)' op is neither", str(error))))
        reason = f"it has no operator for {', '.join(missing)}" if missing else error
        raise ValueError(f"LiteRT cannot run the model: {reason}") from error


def _quantized(content: bytes, folder, quantization) -> bytes:
    """Returns a file of float32 with weights of fewer bits."""
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError as error:
        raise ImportError(
            f"{error}. `quantization={quantization}` needs `pip install "
            "smoothzoo[quantizer]`."
        ) from error
    path = folder / "float32.tflite"
    path.write_bytes(content)
    with contextlib.redirect_stdout(None):  # It prints what it does.
        made = quantizer.Quantizer(str(path))
        made.load_quantization_recipe(getattr(recipe, _RECIPES[quantization])())
        return bytes(made.quantize().quantized_model)


def _to_integers(converter) -> bytes:
    """Converts to 8 bits all but some operators, which only the debugger can do."""
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=list(_FLOAT_OPERATORS)
    )
    with warnings.catch_warnings():
        # It uses the interpreter of TensorFlow, which is deprecated.
        warnings.simplefilter("ignore", UserWarning)
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=lambda: (), debug_options=options
        )
        return debugger.get_nondebug_quantized_model()
