"""The formats of `zoo-export`, and which options each of them takes."""

import pathlib
from collections.abc import Collection

import keras

from training import data
from training.export import litert, onnx, openvino, saved_model, serving, streams, web
from zoo import model_name
from zoo.conformal import Decision
from zoo.posterior import Posterior, Temporal
from zoo.posterior.monte_carlo import as_posterior
from zoo.registry import split_posterior


def check_options(kind: str, options: Collection[str]):
    """Checks that options are those of a format.

    Args:
        kind: A key of `OPTIONS`.
        options: Their names.

    Raises:
        ValueError: If one is of another format.
    """
    if kind == "serving" and "overwrite" in options:
        raise ValueError("`--format=serving` adds a version and overwrites none.")
    for option in options:
        if option not in OPTIONS[kind]:
            kinds = [k for k, known in OPTIONS.items() if option in known]
            kinds = " or ".join(f"`--format={k}`" for k in kinds)
            raise ValueError(f"`--{option}` is for {kinds}.")


def check_posterior(kind: str, posterior: Posterior):
    """Checks that a format can hold a posterior, which need not have adapted.

    Args:
        kind: A key of `OPTIONS`.
        posterior: What is going to be exported.

    Raises:
        ValueError: If it cannot.
    """
    checks = {
        "tflite": litert.check_gradients,
        "web": litert.check_gradients,
        "onnx": litert.check_gradients,
        "openvino": openvino.check,
    }
    if kind in checks:
        checks[kind](posterior)


def export_as(
    kind: str,
    model: keras.Model | Posterior,
    path: str,
    options: dict,
    name: str = "",
    decision: Decision | None = None,
    data_dir: str | None = None,
) -> dict:
    """Exports a model in a format.

    Args:
        kind: A key of `OPTIONS`.
        model: From images to logits, or a posterior.
        path: What to write.
        options: By name; without one, the default of the format.
        name: Name of the model or of its file, for a server or a page.
        decision: What is exported with it, if anything.
        data_dir: Folder of the files of a data set that calibrates; see
            `training.data.load`.

    Returns:
        What `training.export.export_saved_model` returns.

    Raises:
        ValueError: If an option is of another format, or the export fails.
    """
    check_options(kind, options)
    if isinstance(model, Temporal):
        return _export_stream(kind, model, path, options, decision)
    if decision is not None:
        check_options(kind, ["decision"])
        options = {**options, "decision": decision}
    if kind == "serving":
        name = _name_on_server(name)
        return serving.export_version(model, path, name=name, **options)
    if kind == "onnx":
        return onnx.export_onnx(model, path, **options)
    if kind == "openvino":
        return openvino.export_openvino(model, path, **options)
    if kind == "saved_model":
        return saved_model.export_saved_model(model, path, **options)
    options = dict(options)
    if dataset := options.get("calibration"):
        size = as_posterior(model).image_shape[:2]
        size = data.IMAGE_SIZE if None in size else size
        count = options.pop("calibration_count", None)
        options["calibration"] = litert.calibration_images(
            dataset, count, size, data_dir
        )
    elif "calibration_count" in options:
        raise ValueError("`--calibration_count` is for `--calibration`.")
    if kind == "web":
        return web.export_web(model, path, name=name, **options)
    return litert.export_tflite(model, path, **options)


def _name_on_server(name):
    """Returns a name without tags, folders and posterior; of several, with dashes."""
    whole, _ = split_posterior(name)
    if pathlib.Path(whole).exists():
        names = [whole]
    else:
        names = [model_name.split_number(one)[0] for one in whole.split("+")]
    # A URL may have a revision at its end.
    ends = [pathlib.PurePath(one).name.partition("@")[0] for one in names]
    return "-".join(pathlib.PurePath(end).stem for end in ends)


def _export_stream(kind, model, path, options, decision):
    """Exports a stream, which has one pass a frame and a state."""
    given = {name: value for name, value in options.items() if name != "num_samples"}
    named = [*given, *(["decision"] if decision is not None else [])]
    if refused := [name for name in named if name not in _OF_STREAMS.get(kind, ())]:
        raise ValueError(f"`--{refused[0]}` is not for a stream, `@temporal`.")
    if kind not in _OF_STREAMS:
        raise ValueError(
            "A stream is exported as saved_model or tflite, which take its state. "
            f"Received: format={kind}"
        )
    return streams.export_stream(kind, model, path, **given)


# Options of streams by the format.
_OF_STREAMS = {
    "saved_model": ("overwrite",),
    "tflite": ("overwrite", "quantization"),
}


def describe(report: dict) -> str:
    """Returns what an export says about itself, in a line."""
    classes, sizes = report["classes"], report["batch_sizes"]
    named = f"{len(classes)} names of classes" if classes else "no names of classes"
    promised = [
        f", {name}={value:g} promised" for name, value in report["promise"].items()
    ]
    return (
        f"{report['path']}: {report['bytes'] / 1e6:.2f} MB, num_samples="
        f"{report['num_samples']}, {named}{''.join(promised)}. Probabilities differ "
        f"from Keras by {report['max_difference']:.1e} at most (allowed: "
        f"{report['tolerance']:g}), "
        f"at batch size{'s' * (len(sizes) > 1)} {' and '.join(map(str, sizes))}."
    )


OPTIONS = {
    "saved_model": ("num_samples", "overwrite", "decision"),
    "serving": ("num_samples", "decision"),
    "tflite": (
        "decision",
        *("num_samples", "overwrite", "quantization", "calibration"),
        *("calibration_count", "input_dtype", "batch"),
    ),
    "web": (
        *("num_samples", "overwrite", "quantization", "calibration"),
        "calibration_count",
    ),
    "onnx": ("num_samples", "overwrite", "decision"),
    "openvino": ("overwrite", "decision"),
}
