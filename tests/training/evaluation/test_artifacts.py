"""Exported files and served models in an evaluation, held against Keras."""

import functools
import pathlib
import pickle
import shutil
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from tests.helpers import model_server
from tests.helpers.data_sets import Data
from tests.helpers.exports import IMAGES, dropout_model, softmax, tiny
from training import export
from training.data import fingerprint
from training.evaluation import (
    external_models,
    models,
    ood,
    predictions,
    sampling,
    scaling,
)
from training.evaluation.evaluate import evaluate
from training.evaluation.sampling import Passes
from training.export import onnx, openvino, saved_model
from training.runtimes import litert, places
from zoo.posterior import MonteCarlo, Temperature

PASSES, SEED, BATCH = 3, 11, 2  # The passes that the stochastic files average.
DATA = Data(IMAGES.astype("uint8"), np.array([0, 1, 2, 3, 0]), tuple("abcd"))
NETWORKS = {"plain": tiny, "dropout": dropout_model}
network = functools.cache(lambda name: NETWORKS[name]())


@pytest.fixture(scope="module")
def place_of(tmp_path_factory):
    """A function from a kind and a network to the place of what was made of it."""
    folder = tmp_path_factory.mktemp("artifacts")

    @functools.cache
    def saved(name):
        path = folder / name
        posterior = MonteCarlo(network(name), PASSES)
        saved_model.save(saved_model.functions(posterior), path)
        return path

    @functools.cache
    def servers():
        served = model_server.Models()
        for name in NETWORKS:
            served.loaded[name] = {4: tf.saved_model.load(str(saved(name)))}
        context = model_server.serving_models(served)
        running.append(context)
        return context.__enter__()

    def make(kind, name):
        path, model = folder / f"{name}.{kind}", network(name)
        if kind == "tflite":
            export.export_tflite(model, path, PASSES)
        elif kind == "onnx":
            pytest.importorskip("tf2onnx")
            pytest.importorskip("onnxruntime")
            onnx.export_onnx(model, path, PASSES)
        elif kind == "openvino":
            pytest.importorskip("openvino")
            openvino.export_openvino(model, path)
        elif kind == "saved_model":
            path = saved(name)
        else:
            remote, rest = servers()
            path = f"grpc://{remote}/{name}"
            path = f"http://{rest}/v1/models/{name}" if kind == "http" else path
        return str(path)

    running = []
    yield functools.cache(make)
    for context in running:
        context.__exit__(None, None, None)


def passed(posterior, sizes, **settings):
    """Returns what an evaluation keeps of a posterior, by name."""
    passes = Passes(posterior, sizes, SEED, BATCH, **settings)
    parts = [values for _, values in passes.batches(IMAGES)]
    return {k: np.concatenate([p[k] for p in parts], axis=1) for k in parts[0]}


def samples(count):
    """Returns the probabilities of passes in Keras, each batch with its own seed."""
    posterior, parts = MonteCarlo(network("dropout"), count), []
    for start in range(0, len(IMAGES), BATCH):
        # As files number them, the images of a batch begin with 0.
        logits = posterior(IMAGES[start : start + BATCH], seed=SEED + start)
        parts.append(softmax(keras.ops.convert_to_numpy(logits)))
    return np.concatenate(parts, axis=1)


def entropy(probs):
    return -np.sum(probs * np.log(probs), axis=-1)


@pytest.mark.parametrize("kind", ["tflite", "onnx", "openvino", "http", "grpc"])
def test_a_deterministic_one_has_the_rows_of_keras(place_of, kind):
    posterior = external_models.load(place_of(kind, "plain"), 7)
    assert posterior.repeats_itself
    found = evaluate(posterior, DATA, (1, 7), batch_size=BATCH, progress=False)
    expected = evaluate(network("plain"), DATA, (1, 7), progress=False)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["num_samples"] == theirs["num_samples"]
        assert mine["metric"] == theirs["metric"]
        value = pytest.approx(theirs["value"], abs=2e-4, nan_ok=True)
        assert mine["value"] == value, mine["metric"]


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_files_of_means_have_the_draws_of_keras(place_of, kind):
    posterior = external_models.load(place_of(kind, "dropout"), 2 * PASSES)
    assert posterior.passes_per_sample == PASSES
    assert posterior.num_samples == 2  # Calls.
    found = passed(posterior, (PASSES, 2 * PASSES))
    first = samples(PASSES).mean(axis=0)
    np.testing.assert_allclose(found["probs"][0], first, atol=1e-5)
    # A second call draws others, and those of the first stay.
    assert np.abs(found["probs"][1] - first).max() > 1e-3
    again = passed(posterior, (PASSES,))["probs"][0]
    np.testing.assert_array_equal(again, found["probs"][0])
    for name in sampling.SCORES:  # Means of probabilities do not tell them.
        assert not found[name].any()


@pytest.mark.parametrize("kind", ["saved_model", "http", "grpc"])
def test_signatures_of_samples_have_those_of_keras(place_of, kind):
    place = place_of(kind, "dropout")
    posterior = external_models.load(place, 4)
    assert posterior.passes_per_sample == 1
    found, expected = passed(posterior, (1, 4)), samples(4)
    for index, size in enumerate((1, 4)):
        probs = expected[:size].mean(axis=0)
        np.testing.assert_allclose(found["probs"][index], probs, atol=1e-5)
        information = entropy(probs) - entropy(expected[:size]).mean(axis=0)
        np.testing.assert_allclose(
            found["mutual_information"][index], information, atol=1e-5
        )
    assert not found["energy"].any()
    assert not found["max_logit"].any()


def test_a_worker_opens_it_anew(place_of):
    posterior = external_models.load(place_of("tflite", "dropout"), PASSES)
    sent = pickle.loads(pickle.dumps(posterior))
    assert sent.form == posterior.form
    expected = passed(posterior, (PASSES,))["probs"]
    np.testing.assert_array_equal(passed(sent, (PASSES,))["probs"], expected)


def test_predictions_stay_with_the_file_and_not_with_its_name(place_of, tmp_path):
    def store(path):
        posterior = external_models.load(str(path))
        passes = Passes(posterior, (1,), SEED, BATCH, name=posterior.own_name)
        folder = predictions.folder_of(tmp_path / "stored", passes.name, DATA.name)
        new = []
        predictions.store(passes, DATA, folder, lambda _, is_new: new.append(is_new))
        return passes.name, any(new)

    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    first, second = (tmp_path / str(number) / "a.tflite" for number in (1, 2))
    shutil.copy(place_of("tflite", "plain"), first)
    shutil.copy(first, second)
    assert store(first) == ("a.tflite", True)
    assert store(first) == ("a.tflite", False)
    assert store(second) == ("a.tflite", False)  # On another machine.
    first.write_bytes(first.read_bytes() + b"\0")  # Its predictions may be others.
    assert store(first) == ("a.tflite", True)


def test_names_are_those_of_files_and_scalers_stand_behind_them(place_of, tmp_path):
    shutil.copy(place_of("tflite", "plain"), tmp_path / "my-own+1.tflite")
    path = str(tmp_path / "my-own+1.tflite")
    loaded = models.load([path, path, f"{place_of('tflite', 'plain')}@temperature"])
    assert list(loaded) == [
        "my-own+1.tflite",
        "my-own+1.tflite#2",
        "plain.tflite@temperature",
    ]
    *_, scaled = loaded.values()
    assert isinstance(scaled, Temperature)
    assert scaled.runs_elsewhere
    assert scaled.unknown_scores == ("energy", "max_logit")
    images, labels = IMAGES[[0, 1, 2, 3, 4] * 4], np.arange(20) % 4
    labels[3:] = np.argmax(network("plain")(images[3:]), axis=-1)
    scaled.adapt(images, labels)
    expected = Temperature(tiny())
    expected.adapt(images, labels)
    np.testing.assert_allclose(
        scaled.values()["temperature"],
        expected.values()["temperature"],
        atol=1e-3,
    )


def test_scores_of_logits_are_left_out_where_only_probabilities_are_known(
    place_of, tmp_path
):
    def stored(posterior):
        passes = Passes(posterior, (1,), SEED, BATCH)
        meta = predictions.describe(passes, DATA)
        return predictions.of_arrays(
            meta, {"labels": DATA.labels, **passed(posterior, (1,))}
        )

    mine = stored(external_models.load(place_of("tflite", "plain"), 1))
    theirs = stored(MonteCarlo(network("plain"), 1))
    for of, known in ((mine, set()), (theirs, {"energy", "max_logit"})):
        names = {"max_probability", "entropy"} | known
        assert set(ood.scores(of, 1)) == names
        scaled = scaling.scale(
            Temperature(network("plain")),
            of,
            {1: {"temperature": 2.0}},
            "scaled",
            tmp_path / str(len(known)),
        )
        assert set(ood.scores(scaled, 1)) == names


def of_whole_numbers(path):
    """Writes a file for one image in [0, 1], in 8 bits and without a signature."""
    inputs = keras.Input((4, 4, 1), batch_size=1)
    x = keras.layers.Flatten()(inputs)
    outputs = keras.layers.Dense(4, activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    kernel = np.random.default_rng(0).normal(0, 2, (16, 4))
    model.layers[-1].set_weights([kernel, np.zeros(4)])
    spec = tf.TensorSpec((1, 4, 4, 1), tf.float32)
    function = tf.function(model).get_concrete_function(spec)
    constant = convert_variables_to_constants_v2(function)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([constant])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    images = np.random.default_rng(1).integers(0, 256, (40, 1, 4, 4, 1))
    images = images.astype("float32") / 255
    converter.representative_dataset = lambda: ([image] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return model, images[:, 0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_of_whole_numbers_for_one_image_is_right(tmp_path):
    model, images = of_whole_numbers(tmp_path / "integers.tflite")
    opened = litert.open_network(tmp_path / "integers.tflite")
    assert (opened.batch, opened.dtype, opened.is_rounded) == (1, "float32", True)
    given = str(tmp_path / "integers.tflite"), 5, "probs", (0, 1)
    posterior = external_models.load(*given)
    found = keras.ops.softmax(posterior(255 * images[:7], seed=0)[0])
    expected = np.concatenate([model(images[i : i + 1]) for i in range(7)])
    np.testing.assert_allclose(found, expected, atol=0.03)
    with pytest.raises(ValueError, match="returns probs.*outputs=logits"):
        external_models.load(given[0], 5, input_range=(0, 1))


def test_bytes_are_given_to_what_takes_bytes(tmp_path):
    model, path = tiny(), tmp_path / "bytes.tflite"
    export.export_tflite(model, path, input_dtype="uint8")
    posterior = external_models.load(str(path), 1)
    expected = softmax(model(IMAGES))
    found = np.exp(posterior(IMAGES, seed=0)[0])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="uint8.*256 levels.*input_range=0,1"):
        external_models.load(str(path), 1, input_range=(0, 1))
    with pytest.raises(ValueError, match="2 names of classes"):
        external_models.load(str(path), 1, classes=("a", "b"))


def test_encoded_images_are_sent_as_files(tmp_path):
    """As to a server whose default signature decodes them."""

    class Decoding(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="files")])
        def serve(self, files):
            decode = functools.partial(tf.io.decode_png, channels=1)
            pixels = tf.map_fn(decode, files, fn_output_signature=tf.uint8)
            means = tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 3])
            return {"probabilities": tf.nn.softmax(means[:, :4] / 20)}

    module = Decoding()
    tf.saved_model.save(module, tmp_path / "it", signatures=module.serve)
    served = model_server.Models()
    served.loaded["decoding"] = {1: tf.saved_model.load(str(tmp_path / "it"))}
    means = IMAGES.mean(axis=(1, 3))[:, :4]
    with model_server.serving_models(served) as (remote, rest):
        for place in (f"grpc://{remote}/decoding", f"http://{rest}/v1/models/decoding"):
            posterior = external_models.load(place, 1)
            found = np.exp(posterior(IMAGES.astype("uint8"), seed=0)[0])
            np.testing.assert_allclose(found, softmax(means / 20), atol=1e-5)
            with pytest.raises(ValueError, match="256 levels"):
                external_models.load(place, 1, input_range=(0, 1))


def test_what_cannot_be_computed_so_is_refused(place_of, tmp_path):
    path = place_of("tflite", "dropout")
    posterior = external_models.load(path, PASSES)
    with pytest.raises(
        ValueError, match="means of 3 forward passes.*num_samples=.2, 3"
    ):
        Passes(posterior, (2, 3))
    with pytest.raises(ValueError, match="computes as its file says.*bfloat16"):
        Passes(posterior, (PASSES,), precision="bfloat16")
    with pytest.raises(ValueError, match="run outside of Keras, so no function"):
        tf.function(lambda images: posterior(images, seed=0))(IMAGES)
    for name in (f"{path}+{path}", f"{path}@laplace"):
        with pytest.raises(ValueError, match="ensembles, posteriors that look into"):
            models.load([name])
    with pytest.raises(FileNotFoundError, match="no file 'missing.tflite'"):
        external_models.load("missing.tflite")
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    with pytest.raises(ValueError, match="LiteRT cannot read"):
        external_models.load(str(tmp_path / "broken.tflite"))
    (tmp_path / "network.xml").touch()
    with pytest.raises(FileNotFoundError, match=r"network.bin"):
        external_models.load(str(tmp_path / "network.xml"))
    assert fingerprint.of_posterior(posterior) == fingerprint.of_posterior(
        external_models.load(path, PASSES)
    )
    assert places.is_place(path)


def test_sizes_are_multiples_of_what_a_call_averages(place_of, tmp_path):
    from training.evaluation import shared_passes

    path = place_of("tflite", "dropout")
    for asked, sizes in (
        ((1, 2), (PASSES,)),
        ((1, 3, 5), (3,)),
        ((3, 6), (3, 6)),
        ((7,), (6,)),
    ):
        loaded = models.load([path], num_samples=max(asked))
        (candidate,) = shared_passes.group(loaded, asked)
        assert candidate.sizes == sizes, asked


def test_a_file_that_was_rewritten_by_others_is_told_of(place_of, tmp_path, caplog):
    path, bare = place_of("tflite", "dropout"), tmp_path / "bare.tflite"
    with zipfile.ZipFile(path) as archive:  # Another program keeps the model alone.
        first = min(item.header_offset for item in archive.infolist())
    bare.write_bytes(pathlib.Path(path).read_bytes()[:first])
    assert external_models.load(str(bare), PASSES).passes_per_sample == 1
    assert "does not say how many forward passes" in caplog.text
    caplog.clear()
    litert.copy_attached(path, bare)
    whole = external_models.load(str(bare), PASSES)
    assert whole.passes_per_sample == PASSES
    assert whole.classes == external_models.load(path, PASSES).classes
    assert "does not say" not in caplog.text
