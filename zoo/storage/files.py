"""Files that are there whole or not at all."""

import contextlib
import glob
import hashlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator

from zoo.storage import remote


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(path: str | os.PathLike) -> int:
    """Returns the bytes of a file, or of all files in a folder; 0 of nothing."""
    path = pathlib.Path(path)
    found = (file for file in (path, *path.rglob("*")) if file.is_file())
    return sum(file.stat().st_size for file in found)


def check(path: str | os.PathLike, expected: str, size: int | None = None):
    """Checks that a file is the one that was published.

    Args:
        path: Path of the file.
        expected: Its SHA-256, 64 hexadecimal digits.
        size: In bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is another one.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"There is no file '{path}'.")
    found = os.path.getsize(path)
    if size is not None and found != size:
        raise ValueError(
            f"The file '{path}' is truncated or altered: expected {size} bytes, found "
            f"{found}."
        )
    found = sha256(path)
    if found != expected:
        raise ValueError(
            f"The file '{path}' was altered: expected sha256 {expected}, found {found}."
        )


@contextlib.contextmanager
def replacing(path: str | os.PathLike, send: bool = True) -> Iterator[pathlib.Path]:
    """Gives a temporary path that becomes `path` when the block ends.

    The temporary path is in the same folder, so that the last step is one rename; the
    folder is made if it is missing. An exception, an interrupt included, removes what
    was written and leaves an older `path` as it was.

    Args:
        path: Path of a file or a folder. A folder takes the place of an older one.
        send: Whether a file in a copy of `zoo.storage.remote` goes to its place behind
            a URL, too.

    Yields:
        A path where nothing is; the block makes a file or a folder there.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        yield temporary
        if temporary.is_dir():
            _replace_folder(temporary, path)
        else:
            _flush(temporary)
            _open_to_all(temporary)
            os.replace(temporary, path)
            if send:
                remote.send(path)
    finally:
        _remove(temporary)


def remove_unfinished(path: str | os.PathLike):
    """Removes what processes have left that were killed in the block of `replacing`.

    Args:
        path: Path of the file, to which no other process writes now.
    """
    path = pathlib.Path(path)
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        _remove(temporary)


def _open_to_all(path):
    """Gives a file the permissions of any new one; safetensors writes private ones."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _flush(path):
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _replace_folder(new, path):
    if not path.exists():
        os.replace(new, path)
        return
    old = new.with_suffix(".old.tmp")
    os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(old, path)
        raise
    _remove(old)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """Lets one process at a time into the block; the others wait.

    The system frees the lock of a process that ends, however it ends.

    Args:
        path: Path of a file that is made for the purpose, and stays.
    """
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        _lock(file, wait=True)
        yield


@contextlib.contextmanager
def claimed(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps a folder to this process in the block; others are refused at once.

    The system frees the folder of a process that ends, however it ends.

    Args:
        folder: It is made if it is missing; `.lock` in it stays.

    Raises:
        BlockingIOError: If another block has the folder.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "ab") as file:
        try:
            _lock(file, wait=False)
        except BlockingIOError:
            raise BlockingIOError(
                f"Another process writes to '{folder}'. Wait for its end, or give "
                "another folder."
            ) from None
        yield


def _lock(file, wait):
    if os.name == "nt":
        import msvcrt

        try:
            mode = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK
            msvcrt.locking(file.fileno(), mode, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
