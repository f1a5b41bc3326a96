"""Weights of another library that are downloaded and converted on first use.

Some presets have the sum of the file. For the others nobody vouches before: the hub
announces the sha256 in a header, the download is checked against it, and the sum is
recorded beside the cache. From then on another file is refused, whatever the hub
announces. Their first use is trusted.
"""

import dataclasses
import http.client
import json
import os
import pathlib
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from zoo.convert.source import WEIGHTS_FILES, read
from zoo.convert.state_dict import load_state
from zoo.presets import Preset
from zoo.presets.index import folders
from zoo.presets.weight_file import save_weights
from zoo.registry import build
from zoo.storage import download, files

HUB = "https://huggingface.co"  # HF_ENDPOINT names a mirror.
_SHA256, _SIZE, _COMMIT = "X-Linked-ETag", "X-Linked-Size", "X-Repo-Commit"
_TIMEOUT = 30.0  # Seconds.


@dataclasses.dataclass(frozen=True)
class Announcement:
    """What the hub says of a file before it sends it.

    Attributes:
        url: URL of the file in that commit.
        sha256: SHA-256 of its content.
        size: In bytes.
        commit: Commit of the repository there, if it is told.
    """

    url: str
    sha256: str
    size: int
    commit: str | None


def locate(preset: Preset) -> pathlib.Path:
    """Returns the path of converted weights, after a download if they are not cached.

    Two processes that ask for one preset download and convert it once.

    Args:
        preset: One with `source` and `url`.

    Returns:
        A weights file of this package, checked against the recorded sum.

    Raises:
        ConnectionError: If the weights cannot be downloaded.
        ValueError: If they are not those of the first use or of the preset, do not fit,
            or the cache was altered.
    """
    path = download.cache_folder() / f"{preset.name}.safetensors"
    record_path = path.with_suffix(".json")
    with files.locked(path.with_suffix(".lock")):
        record = _read_record(record_path)
        if not (record and path.is_file()):
            fetched = _fetch(preset, record, record_path)
            source = pathlib.Path(fetched.pop("path"))
            _convert(preset, source, fetched["source_sha256"], path)
            record = fetched | {
                "sha256": files.sha256(path),
                "size": path.stat().st_size,
            }
            with files.replacing(record_path) as temporary:
                temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")
            if source.parent == path.parent:
                source.unlink()
        try:
            files.check(path, record["sha256"], record["size"])
        except ValueError as error:
            raise ValueError(f"{error} Delete it to download it again.") from error
    return path


def _read_record(path) -> dict[str, object] | None:
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        [record[key] for key in ("source_sha256", "sha256", "size")]  # Must be there.
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"The record '{path}' of a download is damaged ({error!r}); delete it to "
            "trust what the hub announces once more."
        ) from error
    return record


def _fetch(preset, record, record_path) -> dict[str, object]:
    """Downloads the file of the other library and returns what to record of it."""
    url = _mirrored(preset.url)
    own = pathlib.PurePosixPath(urllib.parse.urlsplit(url).path).name
    suffix = pathlib.PurePosixPath(own).suffix
    name = f"{re.sub(r'[:/]', '-', preset.source).removesuffix(suffix)}{suffix}"
    # Put there by hand, or by a process that ended before now.
    path = _find_by_hand(own) or record_path.with_name(name)
    known = preset.sha256 or (record or {}).get("source_sha256")
    whose = (
        f"'presets.json' has, {known}"
        if preset.sha256
        else f"'{record_path}' recorded at first use, {known}; delete that record to "
        "accept it"
    )
    if path.is_file():
        found, size, commit = files.sha256(path), path.stat().st_size, None
        described = f"'{path}' has"
    elif preset.sha256 and preset.size:
        found, size, commit = preset.sha256, preset.size, None
        described = f"{url} has"
    else:
        announced = announce(url, path)
        url, found, size = announced.url, announced.sha256, announced.size
        commit, described = announced.commit, f"{url} is announced with"
    if known and found != known:
        raise ValueError(
            f"{described} the sha256 {found}, which is not the one that {whose}."
        )
    if not path.is_file():
        download.fetch(url, path, found, size)
    return {
        "source": preset.source,
        "url": url,
        "commit": commit,
        "file": path.name,
        "path": path,
        "source_sha256": found,
    }


def _find_by_hand(name) -> pathlib.Path | None:
    """Returns a file by its own name, if that says more than `model.safetensors`."""
    if name == WEIGHTS_FILES[0]:
        return None
    found = (folder / name for folder in folders())
    return next((path for path in found if path.is_file()), None)


def _mirrored(url) -> str:
    endpoint = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    return url.replace(HUB, endpoint, 1) if url.startswith(f"{HUB}/") else url


def _convert(preset, source, sha256, path):
    model = build(
        preset.name,
        preset.input_shape,
        preset.num_classes,
        (preset.mean, preset.variance),
    )
    load_state(model, read(source).state, preset.source)
    metadata = {"source": preset.source, "source_sha256": sha256}
    save_weights(model, path, metadata)


def announce(url: str, path: pathlib.Path) -> Announcement:
    """Asks the hub for the sum of a file without downloading it.

    Args:
        url: URL of the file, `{hub}/{repository}/resolve/{revision}/{name}`.
        path: Where the file would go, for messages.

    Raises:
        ConnectionError: If there is no answer, or nothing is to be downloaded.
        ValueError: If the answer has no sum.
    """
    if download.is_offline():
        raise download.cannot(url, path, "ZOO_OFFLINE is set")
    try:
        headers = _head(url)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise download.cannot(url, path, reason) from error
    sha256 = headers.get(_SHA256, "").strip('"')
    size = headers.get(_SIZE, "")
    if not re.fullmatch("[0-9a-f]{64}", sha256) or not size.isdecimal():
        raise ValueError(
            f"The server of {url} does not announce the sha256 and size of the file in "
            f"the headers {_SHA256} and {_SIZE}, so it is not downloaded. Found: "
            f"{_SHA256}={sha256!r}, {_SIZE}={size!r}"
        )
    commit = headers.get(_COMMIT)
    if commit and re.fullmatch("[0-9a-f]{40}", commit):
        url = url.replace("/resolve/main/", f"/resolve/{commit}/")
    return Announcement(url, sha256, int(size), commit)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect of an answer that has the sum: the storage has none."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if _SHA256 in headers:
            return None
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            request.method = "HEAD"
        return request


def _head(url) -> Mapping[str, str]:
    headers = {"User-Agent": "smoothzoo", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers, method="HEAD")
    opener = urllib.request.build_opener(_Stay)
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            return response.headers
    except urllib.error.HTTPError as error:
        error.close()
        if _SHA256 in error.headers:
            return error.headers
        raise
