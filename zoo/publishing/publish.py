"""From the folder of a training to a published folder, and into the package."""

import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np

from zoo import outputs, presets
from zoo.classifier import classes_of
from zoo.posterior import Posterior
from zoo.presets import index, posterior_file, training_images
from zoo.presets.model_config import model_metadata
from zoo.presets.weight_file import save_weights
from zoo.publishing import model_card, results, training_record
from zoo.registry import parse
from zoo.storage import files, urls

RESULTS_FILE = "results.jsonl"  # All rows, where the card has a choice of them.
SUMS_FILE = "SHA256SUMS"


def publish(
    model: keras.Model,
    folder: str | os.PathLike,
    record: Mapping,
    rows: Iterable[Mapping] = (),
    license: str = "apache-2.0",
    data_license: str | None = None,
    export: Callable[[keras.Model | Posterior, pathlib.Path], object] | None = None,
    rounding: Mapping | None = None,
    metrics: results.CardMetrics = results.ALL_METRICS,
    seen: np.ndarray | None = None,
    posteriors: Mapping[str, tuple[Posterior, Mapping]] | None = None,
    members: Sequence[keras.Model] = (),
) -> presets.Preset:
    """Writes weights, preset, model card and checksums into a folder, or nothing.

    Args:
        model: With its full name, as `zoo.load` gives it.
        folder: To write, a path or a URL such as `hf://owner/name` or
            `gs://bucket/folder`; one that was published before is replaced.
        record: What its training wrote into `recipe.json`.
        rows: Results of evaluations. Those of trainings with other seeds, which have
            names as `zoo.publishing.results` tells them, become a spread. Rows of other
            models are left out.
        license: License of the weights.
        data_license: License of the training data; known for some.
        export: Writes a SavedModel of a model, or of the first of the posteriors, to a
            path.
        rounding: What `training.publishing.half_precision.round_weights` found out
            about the model; the weights are then written as float16, in which they are.
        metrics: Those that the card has; all are in `results.jsonl`.
        seen: The training images; see `zoo.presets.training_images.write`.
        posteriors: By the key of `zoo.posterior.POSTERIORS`, adapted posteriors of the
            model, with what `zoo.presets.posterior_file.save` writes of them.
        members: The networks of these behind the first, which is the model.

    Returns:
        The preset.

    Raises:
        ValueError: If the name has no tag, the record is of another model, or none of
            the results is of this one.
        FileExistsError: If there is something else in the folder.
        ConnectionError: If it cannot be written.
    """
    outputs.check_model(model)
    _check_folder(folder)
    _check_record(model, record)
    rows = list(rows)
    fields = training_record.describe(record, license, data_license)
    entries = {key: entry for key, (_, entry) in (posteriors or {}).items()}
    fields |= results.choose(rows, model.name, metrics, entries)
    fields["rounding"] = dict(rounding or {})
    options = {
        "rows": rows,
        "model": model,
        "seed": record["seed"],
        "fields": fields,
        "export": export,
        "seen": seen,
        "posteriors": posteriors or {},
        "members": members,
    }
    if not urls.is_url(folder):
        folder = pathlib.Path(folder)
        with files.replacing(folder) as temporary:
            return _fill(temporary, folder.name, **options)
    with tempfile.TemporaryDirectory() as parent:
        temporary = pathlib.Path(parent) / "published"
        preset = _fill(temporary, str(folder), **options)
        urls.upload(temporary, folder, last=SUMS_FILE)
    return preset


def _fill(
    folder, name, rows, model, seed, fields, export, seen, posteriors, members
) -> presets.Preset:
    """Makes the folder, which the card calls `name`."""
    folder.mkdir()
    if seen is not None:
        images = folder / training_images.FILE
        training_images.write(images, seen)
        of_images = {"sha256": files.sha256(images), "bytes": images.stat().st_size}
        fields = {**fields, "seen": {**fields["seen"], **of_images}}
    path = folder / index.WEIGHTS_FILE
    dtype = "float16" if fields["rounding"] else None
    save_weights(model, path, {"seed": seed}, dtype)
    metadata = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in model_metadata(model).items()
    }
    size, sha256 = path.stat().st_size, files.sha256(path)
    fields |= {"file": path.name, "size": size, "sha256": sha256}
    fields["posteriors"] = {
        key: posterior_file.save(posterior, folder, key, sha256, of, members, dtype)
        for key, (posterior, of) in posteriors.items()
    }
    preset = presets.Preset(**{**metadata, **fields})
    if export is not None:
        exported = [posterior for posterior, _ in posteriors.values()] or [model]
        export(exported[0], folder / "saved_model")
    if lines := results.json_lines(rows, model.name):
        _write(folder / RESULTS_FILE, lines)
    _write(folder / index.PRESET_FILE, index.dumps([preset]))
    _write(folder / "README.md", model_card.card(preset, name, export is not None))
    _write(folder / SUMS_FILE, _sums(folder))
    return preset


def _write(path, text):
    path.write_text(text, encoding="utf-8")


def _check_folder(folder):
    if urls.is_url(folder):
        urls.check(folder, index.PRESET_FILE)
        return
    urls.check_spelling(folder)
    folder = pathlib.Path(folder)
    if folder.is_file() or (
        folder.is_dir()
        and any(folder.iterdir())
        and not (folder / index.PRESET_FILE).is_file()
    ):
        raise FileExistsError(
            f"'{folder}' holds something that was not published, so it is left alone; "
            "give a new folder."
        )


def _check_record(model, record):
    spec = parse(model.name)
    if spec.tag is None:
        raise ValueError(
            "Published weights need a tag, for example "
            f"'{training_record.default_name(spec.stem, record)}'. Received: "
            f"model={model.name}"
        )
    if parse(record["model"]).stem != spec.stem:
        raise ValueError(
            f"The training was of '{record['model']}', not of '{spec.stem}'."
        )
    count = record.get("num_classes", len(record["classes"]))
    if count != model.output_shape[-1]:
        raise ValueError(
            f"The model has {model.output_shape[-1]} logits, and the training "
            f"{count} classes."
        )
    known = classes_of(model)
    if known and list(known) != list(record["classes"]):
        raise ValueError(
            f"The model was trained with the classes {', '.join(known)}, and the "
            f"record of the training has {', '.join(record['classes'])}."
        )


def _sums(folder) -> str:
    """Returns lines as `sha256sum --check` reads them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(
        f"{files.sha256(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in paths
    )


def check_published(folder: str | os.PathLike):
    """Checks every file of a published folder against `SHA256SUMS`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file was altered.
    """
    folder = pathlib.Path(folder)
    sums = folder / SUMS_FILE
    if not sums.is_file():
        raise FileNotFoundError(f"'{folder}' was not published: it has no {SUMS_FILE}.")
    for line in sums.read_text(encoding="utf-8").splitlines():
        sha256, _, name = line.partition("  ")
        files.check(folder / name, sha256)
