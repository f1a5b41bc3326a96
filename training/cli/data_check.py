r"""Looks for what is wrong with data sets before anything is trained on them.

Copies within a split and across splits and sets, copies under other labels, images
that look alike, classes that are missing or tiny, and files that are no images.

Examples:

    zoo-data-check --dataset=path/to/folder
    zoo-data-check --dataset=cifar10,cifar100 --data_dir=data --distance=-1
"""

import json
import pathlib

from absl import app, flags

from training.cli import common, names

_DATASET = flags.DEFINE_list(
    "dataset",
    None,
    "Folders and names of data sets to compare, e.g. path/to/folder,cifar10.",
    required=True,
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder that holds the data sets, e.g. data."
)
_DISTANCE = flags.DEFINE_integer(
    "distance",
    2,
    "Images look alike if their perceptual hashes differ in at most this number of 64 "
    "bits, e.g. 4; -1 looks for exact copies alone.",
    lower_bound=-1,
    upper_bound=16,
)
_OUTPUT = flags.DEFINE_string(
    "output", "runs/data_check", "Folder to write the findings to, e.g. runs/found."
)
flags.register_validator("output", common.is_local, common.LOCAL)


def main():
    """Prints what was found and writes all of it."""
    if len(set(_DATASET.value)) < len(_DATASET.value):
        raise app.UsageError(
            f"Name each data set once. Received: --dataset={','.join(_DATASET.value)}"
        )
    names.check(datasets=_DATASET.value, data_dir=_DATA_DIR.value)
    from training import progress
    from training.data import audit
    from training.data.audit import contact_sheet
    from zoo.storage import files

    near = _DISTANCE.value >= 0
    parts = [
        part
        for name in _DATASET.value
        for part in audit.read(name, _DATA_DIR.value, near, progress.track)
    ]
    titles = [part.name for part in parts]
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise ValueError(
            f"Two data sets have one name, so what is found in them would be mixed: "
            f"{', '.join(twice)}. Rename one folder, or give that of both."
        )
    found = [*audit.classes(parts), *audit.copies(parts)]
    alike = audit.near_copies(parts, _DISTANCE.value) if near else []
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    with files.replacing(folder / "findings.jsonl") as temporary:
        lines = [json.dumps(finding) + "\n" for finding in (*found, *alike)]
        temporary.write_text("".join(lines), encoding="utf-8")
    print("\n".join(audit.summary(parts, [*found, *alike])))
    print(f"All findings, one a line, lie in {folder / 'findings.jsonl'}")
    picture = folder / "near_copies.png"
    picture.unlink(missing_ok=True)
    if alike:
        contact_sheet.draw(parts, alike, picture)
        print(f"Some of the images that look alike are drawn in {picture}")


def run():
    """Entry point of the `zoo-data-check` command."""
    common.run(main)


if __name__ == "__main__":
    run()
