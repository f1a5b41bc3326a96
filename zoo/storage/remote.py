"""Folders behind a URL, such as `gs://bucket/folder`, worked on in a local copy.

Object stores write whole objects alone: they have no renames, no locks and no files
that are written range by range. So a process works on a local copy, reads what it needs
of the folder, and sends each file when it is whole, in the order in which files become
whole locally. A file that says that others are there is sent after them.

In place of a lock, the process that began last has the folder: its name is in `.owner`,
which is looked at before anything is sent, and an earlier process ends with an error.
So what was killed leaves nothing behind that its next run would have to wait for.
"""

import atexit
import contextlib
import os
import pathlib
import shutil
import socket
import tempfile
import uuid
from collections.abc import Collection, Iterator, Sequence

from zoo.storage import urls

OWNER = ".owner"

_copies: dict[pathlib.Path, "Copy"] = {}  # Those in use, by their local folders.


class Copy:
    """A local copy of a folder behind a URL.

    Args:
        url: URL of the folder, of any scheme that `tf.io.gfile` writes to.
        path: The local folder.
    """

    def __init__(self, url: str, path: pathlib.Path):
        self.url, self.path = url.rstrip("/"), path
        self._fetched = set()
        self._name = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"

    def url_of(self, path: pathlib.Path) -> str:
        """Returns the URL of a file or folder of the copy."""
        name = path.relative_to(self.path).as_posix()
        return self.url if name == "." else urls.join(self.url, name)

    def claim(self):
        """Takes the folder over from a process that has it."""
        urls.write(urls.join(self.url, OWNER), self._name.encode())

    def release(self):
        """Gives the folder back, if it was not taken over."""
        if self._has_it():
            urls.remove(urls.join(self.url, OWNER))

    def _has_it(self):
        return urls.read(urls.join(self.url, OWNER)) == self._name.encode()

    def fetch(self, path: pathlib.Path):
        """Reads a file, or the files of a folder without those below, if it is there.

        What was read before is not read again, as nobody else writes.
        """
        if path in self._fetched:
            return
        self._fetched.add(path)
        source = self.url_of(path)
        names = urls.names(source)
        pairs = [(urls.join(source, name), path / name) for name in names]
        for place, target in pairs if names else [(source, path)]:
            target.parent.mkdir(parents=True, exist_ok=True)
            urls.fetch(place, target)

    def send(self, path: pathlib.Path):
        """Writes a file of the copy to its place.

        Raises:
            ConnectionError: If another process has taken the folder over.
        """
        self._check_owner()
        urls.send(path, self.url_of(path))

    def remove(self, path: pathlib.Path):
        """Removes the file in the folder that one of the copy stands for."""
        self._check_owner()
        urls.remove(self.url_of(path))

    def _check_owner(self):
        if not self._has_it():
            raise ConnectionError(
                f"Another process has begun to write to '{self.url}', so this one ends "
                "and leaves the folder to it."
            )


def check_folder(folder: str | os.PathLike, names: Collection[str], kind: str):
    """Checks that a folder for results is new, empty or one of its kind.

    Args:
        folder: A path or a URL.
        names: Names of files, of which one at least is in such a folder.
        kind: What it is of, for the error.

    Raises:
        ValueError: If it holds something else, is a file, or nothing can be written to
            such a URL.
    """
    urls.check_writable(folder)
    if urls.is_url(folder):
        found = urls.listed(folder)
    else:
        folder = pathlib.Path(folder)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"'{folder}' is a file; give a folder for the results.")
        found = sorted(x.name for x in folder.iterdir()) if folder.exists() else []
    if set(found) - {OWNER} and not set(found) & set(names):
        raise ValueError(
            f"The folder '{folder}' is not that of {kind}: it holds "
            f"{', '.join(found[:3])}. Give a new one."
        )


@contextlib.contextmanager
def local(
    folder: str | os.PathLike, names: Sequence[str] = ()
) -> Iterator[pathlib.Path]:
    """Gives a local folder for one that may be behind a URL.

    Args:
        folder: A path, which is given as it is; or the URL of a folder, of which a copy
            is given that is removed at the end. What `files.replacing` writes into the
            copy is sent at once.
        names: Files of a folder behind a URL that are read at the beginning.

    Yields:
        The local folder.

    Raises:
        ValueError: If nothing can be written to such a URL.
        ConnectionError: If it cannot be reached, or another process takes it over.
    """
    urls.check_writable(folder)
    if not urls.is_url(folder):
        yield pathlib.Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="smoothzoo") as name:
        copy = Copy(str(folder), pathlib.Path(name))
        copy.claim()
        for own in names:
            copy.fetch(copy.path / own)
        _copies[copy.path] = copy
        try:
            yield copy.path
        finally:
            del _copies[copy.path]
            with contextlib.suppress(OSError):  # What is left there holds nobody up.
                copy.release()


def reading(url: str) -> pathlib.Path:
    """Returns a local folder for one behind a URL that is read alone.

    It is empty until `fetch` is called for its files, and removed when the process
    ends. Nothing is written behind the URL, and whoever writes there is not disturbed.
    """
    path = pathlib.Path(tempfile.mkdtemp(prefix="smoothzoo"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    _copies[path] = Copy(url, path)
    return path


def find(path: str | os.PathLike) -> Copy | None:
    """Returns the copy in use that a path lies in, or None if it is just local."""
    path = pathlib.Path(path)
    found = (copy for root, copy in _copies.items() if path.is_relative_to(root))
    return next(found, None)


def send(path: str | os.PathLike):
    """Writes a file to its place behind a URL, if it lies in a copy."""
    if copy := find(path):
        copy.send(pathlib.Path(path))


def fetch(path: str | os.PathLike):
    """Reads a file, or those of a folder, from behind a URL, if it lies in a copy."""
    if copy := find(path):
        copy.fetch(pathlib.Path(path))


def remove(path: str | os.PathLike):
    """Removes a file behind a URL, if the path lies in a copy."""
    if copy := find(path):
        copy.remove(pathlib.Path(path))


def shown(path: str | os.PathLike) -> str:
    """Returns what messages call a file: its URL if it lies in a copy, or its path."""
    copy = find(path)
    return copy.url_of(pathlib.Path(path)) if copy else os.fspath(path)
