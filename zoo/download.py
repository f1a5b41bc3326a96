"""Downloads that resume, are checked, and land whole."""

import contextlib
import http.client
import os
import pathlib
import sys
import urllib.error
import urllib.request

from zoo import files

_CHUNK = 1 << 18
_TIMEOUT = 30.0  # Seconds without a byte.
_ATTEMPTS = 5  # As long as each brings bytes.
_BAR_FROM = 2_000_000  # Bytes from which a bar is worth it.


def cache_folder() -> pathlib.Path:
    """Returns the folder of downloads: `ZOO_CACHE`, or `~/.cache/smoothzoo`."""
    folder = os.environ.get("ZOO_CACHE") or "~/.cache/smoothzoo"
    return pathlib.Path(folder).expanduser()


def fetch(url: str, path: pathlib.Path, sha256: str, size: int) -> pathlib.Path:
    """Downloads a file unless it is there; an interrupted download goes on later.

    Two processes that ask for one file download it once. The part that was downloaded
    lies in `{path}.part` until it is whole and its sum is right. With `ZOO_OFFLINE=1`
    nothing is downloaded.

    Args:
        url: Where the file is.
        path: Where it goes.
        sha256: Of its content.
        size: In bytes.

    Returns:
        The path. An older file there is not touched and not checked.

    Raises:
        ConnectionError: If the file cannot be downloaded.
        ValueError: If what was downloaded is another file; it is thrown away.
    """
    if path.exists():
        return path
    if os.environ.get("ZOO_OFFLINE", "0") not in ("", "0"):
        raise _cannot(url, path, "ZOO_OFFLINE is set")
    with files.locked(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            part = path.with_name(f"{path.name}.part")
            _download(url, path, part, size)
            _check(url, part, sha256, size)
            os.replace(part, path)
    return path


def _check(url, part, sha256, size):
    try:
        files.check(part, sha256, size)
    except ValueError as error:
        part.unlink()
        raise ValueError(f"What came from {url} is not the file: {error}") from error


def _cannot(url, path, reason) -> ConnectionError:
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
                raise _cannot(url, path, reason)
    if part.stat().st_size < size:
        raise _cannot(url, path, f"broke off {_ATTEMPTS} times; call again to go on")


def _append(url, part, advance):
    """Appends what is missing, or all of it if the server knows no ranges."""
    start = part.stat().st_size
    headers = {"User-Agent": "smoothzoo", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        resumed = start and response.status == http.HTTPStatus.PARTIAL_CONTENT
        with open(part, "ab" if resumed else "wb") as file:
            advance(file.tell())
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                advance(file.tell())


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
