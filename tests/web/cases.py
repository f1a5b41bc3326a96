"""What is exported for browsers, and what Python gives for the same inputs."""

import dataclasses
import functools
import importlib.util
import json
import os
import pathlib

import numpy as np

COUNT = 12  # Images.
PASSES = 5
DATASET = "fashion_mnist"
PLAIN, NOISY = "resnet20_smooth", "resnet20_smooth_mcdo"


@dataclasses.dataclass(frozen=True)
class Form:
    """What a network is exported as.

    Attributes:
        model: Its name, without that of its data set.
        quantization: As `export_web` has it.
    """

    model: str
    quantization: str | None = None


FORMS = {
    "deterministic": Form(PLAIN),
    "stochastic": Form(NOISY),
    "int8": Form(PLAIN, "int8"),
}


def has_onnx() -> bool:
    """Returns whether files of ONNX can be made here."""
    names = "onnx", "tf2onnx", "onnxruntime"
    return all(importlib.util.find_spec(name) for name in names)


def make(folder: pathlib.Path, node_modules: pathlib.Path) -> pathlib.Path:
    """Exports all forms, and writes what Python gives.

    Args:
        folder: Where to write; what lies there is not made again.
        node_modules: The packages of npm.

    Returns:
        A file of JSON, which names the files and has images, seeds and results.
    """
    path = folder / "cases.json"
    if path.exists():
        return path
    import zoo
    from training import data

    test = data.load(DATASET, "test")
    images = np.asarray(test.images[:COUNT]).astype("float32")
    calibration = np.asarray(test.images[-100:])
    folder.mkdir(parents=True, exist_ok=True)
    cases = {}
    for name, form in FORMS.items():
        model = zoo.load(f"{form.model}.{DATASET}")
        cases[name] = _case(name, form, model, images, calibration, folder)
        os.symlink(node_modules, folder / name / "node_modules")
    found = {
        "cases": cases,
        "images": images.reshape(COUNT, -1).astype(int).tolist(),
        "shape": [1, *images.shape[1:]],
    }
    path.write_text(json.dumps(found))
    return path


def _case(name, form, model, images, calibration, folder):
    from training.export import web
    from zoo.posterior import MonteCarlo

    options = {"calibration": calibration} if form.quantization == "int8" else {}
    web.export_web(
        model,
        folder / name,
        PASSES,
        form.quantization,
        overwrite=True,
        name=f"{form.model}.{DATASET}",
        **options,
    )
    seeds = list(range(7, 7 + COUNT))
    draws = form.model == NOISY
    if form.quantization is None:
        posterior = MonteCarlo(model, PASSES if draws else 1)
        samples = [
            np.asarray(posterior(images[i : i + 1], seed=seed))[:, 0]
            for i, seed in enumerate(seeds)
        ]
        expected = [_softmax(x.astype("float64")) for x in samples]
    else:  # The same file, in the interpreter of Python.
        from training.runtimes import litert

        network = litert.open_network(folder / name / "model.tflite")
        expected = [
            network.run(images[i : i + 1], seed)["probabilities"].astype("float64")
            for i, seed in enumerate(seeds)
        ]
    return {
        "folder": str(folder / name),
        "seeds": seeds,
        "expected": [_result(probs) for probs in expected],
        **(_onnx(name, form, model, images, seeds, folder) if has_onnx() else {}),
    }


def _onnx(name, form, model, images, seeds, folder):
    """Returns a file of ONNX, and what Python gives for it where that is not Keras'."""
    from training.export import onnx
    from training.runtimes import onnx as runtime

    path = str(folder / f"{name}.onnx")
    source = str(folder / "deterministic.onnx")
    if form.quantization is None:
        onnx.export_onnx(model, path, PASSES, overwrite=True)
        return {"onnx": path}
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, path)
    network = runtime.open_network(path)
    probs = [
        network.run(images[i : i + 1], seed)["probabilities"].astype("float64")
        for i, seed in enumerate(seeds)
    ]
    return {"onnx": path, "expected_onnx": [_result(x) for x in probs]}


def expected(path: pathlib.Path, runtime: str, form: str) -> list[dict]:
    """Returns what Python gives for a case of a runtime.

    Args:
        path: What `make` has returned.
        runtime: Its name, which begins with `onnx` if it runs files of ONNX.
        form: A key of `FORMS`.
    """
    case = read(path)["cases"][form]
    is_onnx = runtime.startswith("onnx")
    return case.get("expected_onnx" if is_onnx else "", case["expected"])


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _entropy(probs):
    return -np.sum(probs * np.log(np.maximum(probs, 1e-300)), axis=-1)


def _result(probs):
    """Returns mean, entropy and its parts of passes, by their definitions."""
    mean, inner = probs.mean(axis=0), float(np.mean(_entropy(probs)))
    total = float(_entropy(mean))
    return {
        "probabilities": mean.tolist(),
        "entropy": total,
        "expectedEntropy": inner,
        "mutualInformation": max(total - inner, 0.0),
    }


@functools.cache
def read(path: pathlib.Path) -> dict:
    """Returns what `make` has written."""
    return json.loads(path.read_text())
