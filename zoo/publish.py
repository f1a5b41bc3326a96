"""From the folder of a training to a published folder, and into the package."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping

import keras

from zoo import card, catalog, files, presets, results
from zoo.facts import model_facts
from zoo.registry import parse
from zoo.weights import save_weights

RECORD_FILE = "recipe.json"  # What a training leaves beside its weights.
SUMS_FILE = "SHA256SUMS"
DATA_LICENSES = {
    "fashion_mnist": "mit",
    "imagenet-1k": "terms of access of image-net.org, for research alone",
}


def publish(
    model: keras.Model,
    folder: str | os.PathLike,
    record: Mapping,
    rows: Iterable[Mapping] = (),
    license: str = "apache-2.0",
    data_license: str | None = None,
    export: Callable[[keras.Model, pathlib.Path], object] | None = None,
) -> presets.Preset:
    """Writes weights, preset, model card and checksums into a folder, or nothing.

    Args:
        model: With its full name, as `zoo.load` gives it.
        folder: To write; one that was published before is replaced.
        record: What its training wrote into `recipe.json`.
        rows: Results of evaluations. Rows of other models are left out.
        license: Of the weights.
        data_license: Of the training data; known for some.
        export: Writes a SavedModel of a model to a path.

    Returns:
        The preset.

    Raises:
        ValueError: If the name has no tag, the record is of another model, or none of
            the results is of this one.
        FileExistsError: If there is something else in the folder.
    """
    folder = pathlib.Path(folder)
    _check_folder(folder)
    _check_record(model, record)
    fields = _describe(record, license, data_license)
    fields["results"] = _own_rows(rows, model.name)
    with files.replacing(folder) as temporary:
        temporary.mkdir()
        path = temporary / presets.WEIGHTS_FILE
        save_weights(model, path, {"seed": record["seed"]})
        facts = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in model_facts(model).items()
        }
        size, sha256 = path.stat().st_size, files.sha256(path)
        preset = presets.Preset(
            **facts, **fields, file=path.name, size=size, sha256=sha256
        )
        if export is not None:
            export(model, temporary / "saved_model")
        _write(temporary / presets.PRESET_FILE, presets.dumps([preset]))
        text = card.card(preset, folder.name, export is not None)
        _write(temporary / "README.md", text)
        _write(temporary / SUMS_FILE, _sums(temporary))
    return preset


def _write(path, text):
    path.write_text(text, encoding="utf-8")


def _check_folder(folder):
    if folder.is_file() or (
        folder.is_dir()
        and any(folder.iterdir())
        and not (folder / presets.PRESET_FILE).is_file()
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
            f"'{spec.stem}.{record.get('dataset', 'data')}'. Received: "
            f"model={model.name}"
        )
    if parse(record["model"]).stem != spec.stem:
        raise ValueError(
            f"The training was of '{record['model']}', not of '{spec.stem}'."
        )
    if len(record["classes"]) != model.output_shape[-1]:
        raise ValueError(
            f"The model has {model.output_shape[-1]} logits, and the training "
            f"{len(record['classes'])} classes."
        )


def _describe(record, license, data_license) -> dict[str, object]:
    data_license = data_license or DATA_LICENSES.get(record["dataset"])
    if data_license is None:
        raise ValueError(
            f"The licence of the data set '{record['dataset']}' is not known here; "
            "give `data_license`. Received: data_license=None"
        )
    # Where folders lay on that machine is nobody's business.
    command = re.sub(
        r"(--workdir[= ])\S*?([^/\s]+)/?(?=\s|$)", r"\1runs/\2", record["command"]
    )
    command = re.sub(r"(?<=[= ])/\S*/(?=[^/\s])", "", command)
    return {
        "classes": tuple(record["classes"]),
        "license": license,
        "data": record["dataset"],
        "data_license": data_license,
        "recipe": record["recipe"],
        "settings": record["settings"],
        "origin": record.get("origin") or {},
        "epochs": record["settings"].get("epochs"),
        "seed": record["seed"],
        "command": command,
        "commit": record["commit"],
        "versions": record.get("versions", {}),
    }


def _own_rows(rows, name) -> tuple[dict, ...]:
    rows = list(rows)
    names = {name, parse(name).stem}
    own = results.check_rows(row for row in rows if row.get("model", name) in names)
    if rows and not own:
        found = sorted({row["model"] for row in rows})
        raise ValueError(
            f"None of the results is of '{name}'; they are of {', '.join(found)}."
        )
    return tuple(own)


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


def package(
    folder: str | os.PathLike, target: str | os.PathLike | None = None
) -> presets.Preset:
    """Puts published weights into the package: a file and an entry of `presets.json`.

    Weights of the same name are replaced, and keep their place in the list.

    Args:
        folder: As `publish` wrote it.
        target: By default the package's own folder `zoo`.

    Returns:
        The new entry.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file was altered or the weights do not load.
    """
    folder, target = pathlib.Path(folder), pathlib.Path(target or presets.FOLDER)
    check_published(folder)
    preset = presets.read_published(folder)
    catalog.load(preset.name, weights=folder)
    file = f"{preset.name}.safetensors"
    with files.replacing(target / "pretrained" / file) as temporary:
        shutil.copyfile(presets.locate(preset, folder), temporary)
    packaged = dataclasses.replace(preset, file=file)
    presets.add(packaged, target)
    return packaged


def read_record(path: str | os.PathLike) -> dict:
    """Returns what a training wrote beside its weights.

    Args:
        path: Of the weights or of their folder.

    Raises:
        FileNotFoundError: If there is no record.
        ValueError: If it lacks a field.
    """
    path = pathlib.Path(path)
    path = (path if path.is_dir() else path.parent) / RECORD_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no '{path}', which `zoo-train` writes beside the weights."
        )
    record = json.loads(path.read_text(encoding="utf-8"))
    needed = "model", "dataset", "recipe", "settings", "seed", "command", "commit"
    for field in (*needed, "classes"):
        if field not in record:
            raise ValueError(f"The record '{path}' has no field '{field}'.")
    return record


def read_rows(path: str | os.PathLike) -> list[dict]:
    """Returns the rows of a file of JSON lines.

    Raises:
        ValueError: If a line is not JSON.
    """
    rows = []
    text = pathlib.Path(path).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(
                f"Line {number} of '{path}' is not JSON: {error}"
            ) from None
    return rows
