"""Folders for browsers: their files, what is refused, and their code in Node."""

import json
import shutil
import subprocess

import keras
import numpy as np
import pytest
from PIL import Image

import layers
import zoo
from layers.random import fold
from tests.helpers.commands import ROOT
from tests.helpers.exports import IMAGES, calls, dropout_model, invoke, tiny
from training import export
from training.data.readers import image_files
from training.data.resize import _of_shape
from training.export import flatbuffer, web
from training.runtimes import litert as runtime
from zoo import posterior, predictive

ASSETS = ROOT / "training" / "assets" / "web"
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node")
SMOOTHING = layers.SpatialSmoothing


def in_node(code):
    """Returns what JavaScript prints, which has the modules of the page."""
    names = "{ checkImage, seedOfPass }"
    code = (
        f"import {names} from '{ASSETS}/classifier.js';"
        f"import {{ fit }} from '{ASSETS}/image.js';"
        "import { readFileSync } from 'node:fs';"
        f"process.stdout.write(JSON.stringify(await (async () => {{ {code} }})()));"
    )
    command = ["node", "--input-type=module", "-e", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "page"
    model = tiny(SMOOTHING(), layers.MCDropout(0.25, name="dropout"))
    samples = [("a/b", np.zeros((4, 4, 1), "uint8"))]
    report = web.export_web(model, folder, 3, name="mine", samples=samples)
    return model, folder, report


def test_a_folder_has_all_that_a_page_needs_but_the_runtime(exported):
    _, folder, report = exported
    about = json.loads((folder / "model.json").read_text())
    assert report["num_samples"] == about["num_samples"] == 3
    assert about["is_repeated"]
    assert about["name"] == "mine"
    assert about["image_shape"] == [16, 16, 1]
    package = json.loads((folder / "package.json").read_text())
    assert package["dependencies"] == {"@litertjs/core": web.VERSION}
    tested = json.loads((ROOT / "tests" / "web" / "package.json").read_text())
    assert tested["dependencies"]["@litertjs/core"] == web.VERSION
    assert {path.name for path in folder.iterdir()} == {
        *("model.tflite", "model.json", "package.json", "samples"),
        *web.FILES,
    }
    with Image.open(folder / about["samples"][0]) as picture:
        assert picture.size == (4, 4)
    # Requests go to where the page lies, and nowhere else.
    texts = [(folder / name).read_text() for name in web.FILES]
    links = [text for text in texts if "http:" in text or "https:" in text]
    assert [text.count("http://www.w3.org/2000/svg") for text in links] == [1]
    assert "default-src 'self'" in texts[0]


def test_passes_are_calls_with_the_draws_of_the_posterior(exported):
    model, folder, _ = exported
    network = runtime.open_network(folder / "model.tflite")
    assert network.batch == 1
    numbers = np.array([layers.random._hash_value(i) for i in range(3)])
    seeds = (7 + numbers - numbers[0]).astype("uint32").view("int32")
    found = [network.run(IMAGES[:1], seed)["probabilities"] for seed in seeds]
    expected = predictive.probs(posterior.MonteCarlo(model, 3)(IMAGES[:1], seed=7))
    np.testing.assert_allclose(np.mean(found, axis=0), expected, atol=1e-6)
    assert np.ptp(np.array(found), axis=0).max() > 1e-3
    about = json.loads((folder / "model.json").read_text())
    for image, check in zip(
        web.check_images((16, 16, 1)), about["check"]["images"], strict=True
    ):
        probs = network.run(image[None], check["seed"])["probabilities"][0]
        np.testing.assert_array_equal(probs, np.float32(check["probabilities"]))


def test_smoothing_is_a_convolution_and_draws_keep_a_model_from_webgpu(
    exported, tmp_path
):
    _, folder, _ = exported
    found = calls(folder / "model.tflite")
    assert found["DEPTHWISE_CONV_2D"] == 1
    assert found["AVERAGE_POOL_2D"] == found["PAD"] == 0
    about = json.loads((folder / "model.json").read_text())
    assert "integers of 32 bits" in about["refused"]["webgpu"]
    assert about["refused"]["wasm"] == ""
    for quantization, reason in ((None, ""), ("dynamic", "zeros that pad a pooling")):
        lite = tmp_path / "model.tflite"
        export.export_tflite(
            tiny(SMOOTHING()),
            lite,
            quantization=quantization,
            overwrite=True,
            batch=3,
        )
        obstacle = flatbuffer.webgpu_obstacle(lite.read_bytes())
        assert obstacle.startswith(reason)
        assert bool(obstacle) == bool(reason)


def test_posteriors_of_another_kind_have_all_passes_in_a_call(tmp_path):
    members = [dropout_model(), dropout_model()]
    members[1].set_weights([w * 0.9 for w in members[1].get_weights()])
    ensemble = posterior.DeepEnsemble(members)
    assert web.one_pass(ensemble) is ensemble
    network = zoo.build("lenet5_film", (28, 28, 1), num_classes=3)
    film = posterior.MonteCarlo(network, 4)
    assert web.one_pass(film) is film
    web.export_web(ensemble, tmp_path / "page")
    about = json.loads((tmp_path / "page" / "model.json").read_text())
    assert not about["is_repeated"]
    assert about["num_samples"] == ensemble.num_samples
    network = runtime.open_network(tmp_path / "page" / "model.tflite")
    logits = ensemble(IMAGES[:1], seed=5)
    found = network.run(IMAGES[:1], 5)
    np.testing.assert_allclose(
        found["expected_entropy"], predictive.expected_entropy(logits), atol=1e-5
    )


# In place of the runtime: a file whose outputs are those of `outputs.json`.
RUNTIME = """
import { readFileSync } from "node:fs";
export const loadLiteRt = async () => {};
export class Tensor {
  constructor(values) { this.values = values; }
  async data() { return this.values; }
  delete() {}
}
export const loadAndCompile = async () => ({
  getInputDetails: () => [{ name: "images", dtype: "float32", shape: [1, 1, 1, 1] }],
  run: async () => Object.fromEntries(
    Object.entries(JSON.parse(readFileSync("FOLDER/outputs.json")))
      .map(([name, values]) => [name, new Tensor(Float32Array.from(values))])),
});
"""


def classified(folder, outputs, **about):
    """Returns what `classify` gives for a file of some outputs."""
    package = folder / "node_modules" / "@litertjs" / "core"
    package.mkdir(parents=True, exist_ok=True)
    package.joinpath("package.json").write_text('{"main": "index.mjs"}')
    package.joinpath("index.mjs").write_text(RUNTIME.replace("FOLDER", str(folder)))
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copyfile(ASSETS / "classifier.js", folder / "classifier.js")
    (folder / "outputs.json").write_text(json.dumps(outputs))
    known = {"image_shape": [1, 1, 1], "refused": {}, **about}
    known["check"] = {"images": [], "tolerance": 0.1}
    return in_node(
        f"const {{ load }} = await import('{folder}/classifier.js');"
        f"const read = async () => new Response({json.dumps(json.dumps(known))});"
        "const found = await (await load({ wasm: '', read })).classify([0]);"
        "const { probabilities, ...numbers } = found;"
        "return Object.fromEntries("
        "  Object.entries(numbers).map(([name, x]) => [name, String(x)]));"
    )


@needs_node
@pytest.mark.parametrize(
    "outputs, about, parts",
    [
        ({}, {"is_repeated": False, "num_samples": 1}, (np.log(2), 0)),
        ({}, {"is_repeated": True, "num_samples": 3}, (np.log(2), 0)),
        (
            {"expected_entropy": [0.25]},
            {"is_repeated": False, "num_samples": 3},
            (0.25, np.log(2) - 0.25),
        ),
        # Of the mean of several passes nobody knows the parts.
        ({}, {"is_repeated": False, "num_samples": 3}, (np.nan, np.nan)),
    ],
)
def test_parts_of_the_entropy_are_those_of_the_passes(outputs, about, parts, tmp_path):
    found = classified(tmp_path, {"probabilities": [0.5, 0.5], **outputs}, **about)
    numbers = [float(found[x]) for x in ("expectedEntropy", "mutualInformation")]
    np.testing.assert_allclose(numbers, parts, atol=1e-7)
    np.testing.assert_allclose(float(found["entropy"]), np.log(2), atol=1e-7)


def test_batches_of_a_fixed_size_draw_as_those_of_keras(tmp_path):
    model, lite = dropout_model(), tmp_path / "model.tflite"
    report = export.export_tflite(model, lite, 2, batch=4)
    assert report["batch_sizes"] == (4,)
    expected = predictive.probs(posterior.MonteCarlo(model, 2)(IMAGES[:4], seed=3))
    found = invoke(lite, images=IMAGES[:4], seed=np.array(3, "int32"))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert runtime.open_network(lite).batch == 4
    with pytest.raises(ValueError, match="batch=0"):
        export.export_tflite(model, lite, batch=0, overwrite=True)


def free_size():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def of_pixels():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))


@pytest.mark.parametrize(
    "model, options, message",
    [
        (free_size, {}, "images of one size.*None, None, None, 3"),
        (of_pixels, {}, "not of its pixels.*8, 8, 2"),
        (tiny, {"quantization": "weight_only"}, "no kernels.*weight_only"),
        (tiny, {"quantization": "int8"}, "`calibration`, some hundred images"),
    ],
)
def test_what_browsers_cannot_run_is_refused_before_a_file(
    model, options, message, tmp_path
):
    with pytest.raises(ValueError, match=message):
        web.export_web(model(), tmp_path / "page", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_replaced_keeps_its_packages(tmp_path):
    folder = tmp_path / "page"
    web.export_web(tiny(), folder)
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "mine").write_text("")
    with pytest.raises(FileExistsError, match="page exists"):
        web.export_web(tiny(), folder)
    web.export_web(tiny(), folder, overwrite=True)
    assert (folder / "node_modules" / "mine").exists()


@needs_node
def test_the_code_of_the_page_has_the_seeds_and_pixels_of_python(tmp_path):
    rng, cases = np.random.default_rng(0), []
    shapes = [(28, 28, 1), (32, 32, 3), (24, 40, 3), (9, 7, 1)]
    for height, width in ((28, 28), (61, 47), (33, 200), (5, 6)):
        picture = rng.integers(0, 256, (height, width, 4), "uint8")
        picture[..., 3] = 255
        for shape in shapes:
            pixels = image_files.fit(Image.fromarray(picture[..., :3]), shape[:2])
            expected = _of_shape(np.asarray(pixels), *shape)
            file = tmp_path / f"{len(cases)}.raw"
            file.write_bytes(picture.tobytes())
            cases.append((str(file), width, height, shape, expected))
    found = in_node(
        f"const cases = {json.dumps([c[:4] for c in cases])};"
        "return {"
        "  fitted: cases.map(([file, width, height, shape]) =>"
        "    [...fit({ width, height, data: readFileSync(file) }, shape)]),"
        "  seeds: [0, 1, 2, 49].map((i) => [7, -3, 2 ** 31 - 1].map((s) =>"
        "    seedOfPass(s, i))),"
        "  image: [...checkImage(2, 160, 256)],"
        "};"
    )
    for pixels, (_, _, _, shape, expected) in zip(found["fitted"], cases, strict=True):
        np.testing.assert_array_equal(np.reshape(pixels, shape), expected)
    for number, row in zip((0, 1, 2, 49), found["seeds"], strict=True):
        for seed, other in zip((7, -3, 2**31 - 1), row, strict=True):
            assert -(2**31) <= other < 2**31
            assert int(fold(other, 0)) == int(fold(seed, number))
    levels = web.check_images((16, 16, 1))
    whole = keras.ops.convert_to_numpy(layers.random.bits(2, 256)) >> 24
    np.testing.assert_array_equal(found["image"], whole * 160 // 256)
    assert [
        int(x.max()) <= level for x, level in zip(levels, (64, 160, 256), strict=True)
    ]
