"""Downloads that resume, are checked, and land whole."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence

from zoo.storage import files, hugging_face, urls

_CHUNK = 1 << 18
_ATTEMPTS = 5  # As long as each brings bytes.
_BAR_FROM = 2_000_000  # Bytes from which a bar is worth it.


def cache_folder() -> pathlib.Path:
    """Returns the folder of downloads: `ZOO_CACHE`, or `~/.cache/smoothzoo`."""
    folder = os.environ.get("ZOO_CACHE") or "~/.cache/smoothzoo"
    return pathlib.Path(folder).expanduser()


def is_offline() -> bool:
    """Returns whether nothing may be downloaded: `ZOO_OFFLINE=1`."""
    return os.environ.get("ZOO_OFFLINE", "0") not in ("", "0")


def locate(entry, places: Sequence[str | os.PathLike]) -> pathlib.Path:
    """Returns the path of a published file, which it may have to download.

    Args:
        entry: What is known of it: `name`, `file`, `url`, `sha256`, `size`, and the
            commit after which it was `withdrawn`, as a `zoo.presets.Preset` has them.
        places: Folders where it may lie.

    Raises:
        FileNotFoundError: If the file is not there and has no url, or is withdrawn.
        ConnectionError: If it cannot be downloaded.
        ValueError: If what was downloaded is another file.
    """
    for place in places if entry.file else ():
        if (path := pathlib.Path(place) / entry.file).is_file():
            return path
    if entry.withdrawn:
        raise FileNotFoundError(_withdrawn(entry))
    if entry.url is None:
        raise FileNotFoundError(_lost(entry, places))
    # The name may be that of a foreign file, and must not lead out of the cache.
    safe = re.sub(r"[^\w.-]", "_", entry.name)
    path = cache_folder() / f"{safe}-{entry.sha256[:12]}.safetensors"
    return fetch(entry.url, path, entry.sha256, entry.size)


def _withdrawn(entry) -> str:
    commit = entry.withdrawn[:10]
    return (
        f"The weights of '{entry.name}' are withdrawn: what was measured of them "
        f"stays, and the file is in the repository up to commit {commit}. To use them, "
        f"write it with `git show {commit}:weights/{entry.file}` into a folder, and "
        "set ZOO_WEIGHTS to that."
    )


def _lost(entry, places) -> str:
    looked = ", ".join(f"'{place}'" for place in places)
    text = (
        f"The weights of '{entry.name}' are missing: there is no file '{entry.file}' "
        f"in {looked}"
    )
    if len(places) > 1:
        text += (
            f". Large weights ({entry.size / 1e6:.1f} MB) do not travel with the "
            "package but lie in the folder `weights` of its repository: get that file "
            "from there, and set ZOO_WEIGHTS to the folder that you put it into"
        )
    return f"{text}."


def fetch(url: str, path: pathlib.Path, sha256: str, size: int) -> pathlib.Path:
    """Downloads a file unless it is there; an interrupted download goes on later.

    Two processes that ask for one file download it once. The part that was downloaded
    lies in `{path}.part` until it is whole and its sum is right. With `ZOO_OFFLINE=1`
    nothing is downloaded.

    Args:
        url: Where the file is: on a web server, on the Hugging Face hub
            (`hf://owner/name/file`), or in a file system that TensorFlow knows, such as
            `gs://bucket/file`.
        path: Where it goes.
        sha256: SHA-256 of its content.
        size: In bytes.

    Returns:
        The path. An older file there is not touched and not checked.

    Raises:
        FileNotFoundError: If the hub has no such file.
        ConnectionError: If the file cannot be downloaded.
        ValueError: If what was downloaded is another file; it is thrown away.
    """
    if path.exists():
        return path
    if is_offline():
        raise cannot(url, path, "ZOO_OFFLINE is set")
    with files.locked(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            part = path.with_name(f"{path.name}.part")
            transfer = _from_hub if hugging_face.is_hub(url) else _download
            transfer(url, path, part, size)
            _check(url, part, sha256, size)
            os.replace(part, path)
    return path


def read_text(url: str) -> str:
    """Reads a small file, which is kept in the cache for when there is no network.

    Args:
        url: Where the file is, on any of the servers of `fetch`.

    Returns:
        Its text; with a warning the text of the last time, if it cannot be read now.
        With `ZOO_OFFLINE=1` that of the last time.

    Raises:
        FileNotFoundError: If there is no such file.
        ConnectionError: If it cannot be read, or `ZOO_OFFLINE` is set, and it was not
            read before.
    """
    key = hashlib.sha256(url.encode()).hexdigest()[:24]
    path = cache_folder() / "texts" / key
    if is_offline():
        if not path.exists():
            raise ConnectionError(
                f"Cannot read {url} (ZOO_OFFLINE is set, and it was not read before). "
                "Without a network: get its folder on another machine and give that."
            )
    else:
        try:
            with files.replacing(path) as temporary:
                _read_into(url, temporary)
        except ConnectionError as error:
            if not path.exists():
                raise
            warnings.warn(f"{error} This is what was read before.", stacklevel=2)
    return path.read_text(encoding="utf-8")


def _read_into(url, path):
    try:
        if hugging_face.is_hub(url):
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                os.replace(hugging_face.download(url, pathlib.Path(folder)), path)
            return
        with urls.opened(url) as (source, _), open(path, "wb") as file:
            shutil.copyfileobj(source, file)
    except FileNotFoundError:
        raise
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "code", None) == http.HTTPStatus.NOT_FOUND:
            raise FileNotFoundError(f"There is no {url}.") from error
        reason = getattr(error, "reason", None) or error
        raise ConnectionError(f"Cannot read {url} ({reason}).") from error


def _check(url, part, sha256, size):
    try:
        files.check(part, sha256, size)
    except ValueError as error:
        part.unlink()
        raise ValueError(f"What came from {url} is not the file: {error}") from error


def cannot(url: str, path: pathlib.Path, reason: object) -> ConnectionError:
    """Returns the error of a download, with the way that needs no network."""
    return ConnectionError(
        f"Cannot download {url} ({reason}). Without a network: get that file on "
        f"another machine and put it at '{path}', or set ZOO_CACHE to a folder that "
        "has it."
    )


def _download(url, path, part, size):
    part.touch()
    with _progress(path.name, size) as advance:
        for _ in range(_ATTEMPTS):
            before, reason = part.stat().st_size, "the server closed the connection"
            if before >= size:
                return
            try:
                _append(url, part, advance)
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error
            if part.stat().st_size <= before:
                raise cannot(url, path, reason)
    if part.stat().st_size < size:
        raise cannot(url, path, f"broke off {_ATTEMPTS} times; call again to go on")


def _append(url, part, advance):
    """Appends what is missing, or all of it if the server knows no ranges."""
    start = part.stat().st_size
    with urls.opened(url, start) as (source, resumed):
        mode = "ab" if start and resumed else "wb"
        with open(part, mode) as file:
            advance(file.tell())
            while chunk := source.read(_CHUNK):
                file.write(chunk)
                advance(file.tell())


def _from_hub(url, path, part, size):
    """Lets the client of the hub download, which has a way of its own to resume."""
    folder = part.with_name(f"{part.name}.hub.tmp")
    try:
        os.replace(hugging_face.download(url, folder), part)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot(url, path, error) from error
    shutil.rmtree(folder)


@contextlib.contextmanager
def _progress(name, size):
    """Gives a function of the bytes done so far, which draws a bar on a terminal."""
    if size < _BAR_FROM or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich import console, progress

    with progress.Progress(
        "{task.description}",
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=console.Console(stderr=True),
    ) as bar:
        task = bar.add_task(name, total=size)
        yield lambda done: bar.update(task, completed=done)
