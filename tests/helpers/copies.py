"""Copies of this checkout, in which files may be changed."""

import pathlib
import shutil


def copy(source: pathlib.Path, target: pathlib.Path, *ignored: str):
    """Copies a folder, but weights, which are many and large, by links.

    Args:
        source: The folder.
        target: A folder that is not there yet.
        *ignored: Patterns of names of files and folders that are left out.
    """
    ignore = shutil.ignore_patterns(*ignored)
    shutil.copytree(source, target, ignore=ignore, copy_function=_copy)


def _copy(source, target):
    if source.endswith(".safetensors"):
        pathlib.Path(target).symlink_to(source)
    else:
        shutil.copy2(source, target)
