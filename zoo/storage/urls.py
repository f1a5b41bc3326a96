"""Places behind a URL: web servers, the hub, and what TensorFlow can open."""

import contextlib
import http
import os
import pathlib
import re
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator

from zoo.storage import hugging_face

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://")
# Not a drive of Windows, which is one letter.
_MISTYPED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)")
_WEB = ("http", "https")
_OBJECTS = ("gs", "s3", "az")  # Object stores: what is written appears whole.
_TIMEOUT = 30.0  # Seconds without a byte.


def is_url(path: str | os.PathLike) -> bool:
    """Returns whether a path begins with a scheme, as `gs://bucket/folder` does."""
    return bool(_URL.match(os.fspath(path)))


def is_in_memory(path: str | os.PathLike) -> bool:
    """Returns whether what is written to a path or URL ends with the process."""
    return os.fspath(path).startswith("ram://")


def takes_files(url: str) -> bool:
    """Returns whether TensorFlow lists and writes files there: no web server or hub."""
    return _scheme(url) not in (*_WEB, "hf")


def join(folder: str, name: str) -> str:
    """Returns the URL of a file in a folder."""
    if hugging_face.is_hub(folder):
        hugging_face.split(folder)  # A repository must be whole.
    return f"{str(folder).rstrip('/')}/{name}"


@contextlib.contextmanager
def opened(url: str, start: int = 0) -> Iterator[tuple[object, bool]]:
    """Opens a file for reading.

    Args:
        url: URL of the file; not of the hub.
        start: The number of bytes to leave out.

    Yields:
        A file, and whether it begins at `start`; if not, it begins at 0.

    Raises:
        OSError: If it cannot be opened or read.
    """
    if _scheme(url) not in _WEB:
        with _explained(url), _gfile(url).GFile(url, "rb") as file:
            file.seek(start)
            yield file, True
        return
    headers = {"User-Agent": "smoothzoo", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        yield response, response.status == http.HTTPStatus.PARTIAL_CONTENT


def check(folder: str, mark: str):
    """Checks that one may write to a folder.

    Args:
        folder: Its URL.
        mark: A file that is there if it was published before.

    Raises:
        FileExistsError: If there is something else in the folder.
        ConnectionError: If that cannot be seen.
        ValueError: If one cannot write there at all.
    """
    if _scheme(folder) in _WEB:
        raise ValueError(
            "A web server takes no files; publish to a folder, to gs://bucket/folder "
            f"or to hf://owner/name. Received: folder={folder}"
        )
    names = (
        hugging_face.names(folder) if hugging_face.is_hub(folder) else _names(folder)
    )
    if names and mark not in names:
        raise FileExistsError(
            f"'{folder}' holds something that was not published ({names[0]}), so it is "
            "left alone; give a new folder."
        )


def check_writable(folder: str | os.PathLike):
    """Checks that a URL is of a scheme that files can be written to one by one.

    Args:
        folder: A URL or a path.

    Raises:
        ValueError: If it is that of a web server or of the hub, or is no URL and no
            path that anybody would choose, such as `gs:/bucket`.
    """
    check_spelling(folder)
    if is_url(folder) and not takes_files(folder):
        raise ValueError(
            "Results are written to a folder or to gs://bucket/folder, s3://bucket/"
            "folder or another place that TensorFlow writes to, and not to web servers "
            f"or the hub. Received: {folder}"
        )


def check_spelling(path: str | os.PathLike):
    """Checks that a path is not a URL with a slash or small letters amiss.

    Raises:
        ValueError: If it begins as `gs:/bucket`, `GS://bucket` or `file://folder` do.
    """
    text = os.fspath(path)
    found = _MISTYPED.fullmatch(text)
    if found is None:
        return
    scheme, rest = found[1].lower(), found[2]
    # Of `file://folder/run` TensorFlow would take the folder for a machine.
    meant = f"{scheme}:///{rest}" if scheme == "file" else f"{scheme}://{rest}"
    if not is_url(text) or (scheme == "file" and not text.startswith("file:///")):
        raise ValueError(
            "A URL begins with a scheme in small letters and '://', and one of a local "
            f"file with 'file:///'. Did you mean {meant}? A folder of this name is "
            f"./{text}. Received: {text}"
        )


def listed(folder: str) -> list[str]:
    """Returns the names of files and folders in a folder behind a URL; or none.

    Args:
        folder: URL as `check_writable` takes it.

    Raises:
        ConnectionError: If it cannot be reached.
    """
    with _explained(folder):
        gfile = _gfile(folder)
        found = gfile.listdir(folder) if gfile.isdir(folder) else ()
        return sorted(filter(None, (name.rstrip("/") for name in found)))


def names(folder: str) -> list[str]:
    """Returns the names of the files alone; see `listed`."""
    with _explained(folder):
        is_folder = _gfile(folder).isdir
        return [name for name in listed(folder) if not is_folder(join(folder, name))]


def read(url: str) -> bytes | None:
    """Returns the content of a small file behind a URL, or None if there is none."""
    try:
        with opened(url) as (file, _):
            return file.read()
    except FileNotFoundError:
        return None


def write(url: str, content: bytes):
    """Writes a small file behind a URL, as `send` does."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "content")
        path.write_bytes(content)
        send(path, url)


def remove(url: str):
    """Removes a file behind a URL, if it is there."""
    with contextlib.suppress(FileNotFoundError), _explained(url):
        _gfile(url).remove(url)


def fetch(url: str, target: pathlib.Path):
    """Writes a file behind a URL to a local one, if it is there."""
    with contextlib.suppress(FileNotFoundError), _explained(url):
        _gfile(url).copy(url, os.fspath(target), overwrite=True)


def send(source: pathlib.Path, url: str):
    """Writes a local file to a URL, where it appears whole or not at all.

    An object store does that by itself. Elsewhere it is a rename.
    """
    with _explained(url):
        gfile = _gfile(url)
        gfile.makedirs(os.path.dirname(url))
        if _scheme(url) in _OBJECTS:
            gfile.copy(os.fspath(source), url, overwrite=True)
            return
        temporary = join(os.path.dirname(url), f".{uuid.uuid4().hex[:12]}.tmp")
        gfile.copy(os.fspath(source), temporary, overwrite=True)
        gfile.rename(temporary, url, overwrite=True)


def upload(source: pathlib.Path, folder: str, last: str):
    """Makes a folder behind a URL the same as a local one.

    Args:
        source: The local folder.
        folder: The URL.
        last: The file that is written when all others are there.

    Raises:
        OSError: If a file cannot be written.
    """
    if hugging_face.is_hub(folder):
        hugging_face.upload(source, folder)
        return
    paths = {p.relative_to(source).as_posix(): p for p in source.rglob("*")}
    files = {name: path for name, path in paths.items() if path.is_file()}
    with _explained(folder):
        gfile = _gfile(folder)
        for name in sorted(files, key=lambda name: (name == last, name)):
            target = join(folder, name)
            gfile.makedirs(os.path.dirname(target))
            gfile.copy(os.fspath(files[name]), target, overwrite=True)
        for name in set(_names(folder)) - files.keys():
            gfile.remove(join(folder, name))


def _names(folder) -> list[str]:
    """Returns the files in a folder and below it; none if it does not exist."""
    with _explained(folder):
        gfile, root = _gfile(folder), folder.rstrip("/")
        if not gfile.exists(root):
            return []
        found = [
            join(place, name) for place, _, names in gfile.walk(root) for name in names
        ]
    return sorted(name.removeprefix(f"{root}/") for name in found)


def _scheme(url) -> str:
    return _URL.match(os.fspath(url))[1]


def _gfile(url):
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"TensorFlow opens '{url}': pip install tensorflow."
        ) from error
    return tf.io.gfile


@contextlib.contextmanager
def _explained(url):
    """Makes errors of the system of those of TensorFlow."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(f"There is no '{url}'.") from error
    except tf.errors.UnimplementedError as error:
        raise ConnectionError(
            f"Cannot reach '{url}' (scheme '{_scheme(url)}' not known to TensorFlow; "
            "for s3:// and others, pip install tensorflow-io, or mount the place as a "
            "folder)."
        ) from error
    except tf.errors.OpError as error:
        reason = " ".join(str(error).split())
        raise ConnectionError(f"Cannot reach '{url}' ({reason}).") from error
