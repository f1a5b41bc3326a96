"""The Hugging Face hub: `hf://owner/name[@revision][/file]`."""

import contextlib
import os
import pathlib
import re

_URL = re.compile(r"hf://([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.+?))?/?")
_KEPT = (".gitattributes",)  # What the hub itself puts into a repository.


def is_hub(url: str | os.PathLike) -> bool:
    """Returns whether a URL is one of the hub."""
    return os.fspath(url).startswith("hf://")


def split(url: str) -> tuple[str, str | None, str]:
    """Takes a URL apart.

    Args:
        url: URL of a repository or of a file in it.

    Returns:
        Repository, revision and file; None and nothing if they are not named.

    Raises:
        ValueError: If it is not a valid address.

    Example:

    >>> split("hf://owner/name@v1/model.safetensors")
    ('owner/name', 'v1', 'model.safetensors')
    """
    match = _URL.fullmatch(url)
    if not match:
        raise ValueError(
            "A model on the Hugging Face hub is hf://owner/name or "
            f"hf://owner/name@revision. Received: url={url}"
        )
    return match[1], match[2], match[3] or ""


def download(url: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads a file into a folder; an interrupted download goes on later.

    Args:
        url: URL of the file.
        folder: For the file, and what the hub's client needs beside it.

    Returns:
        The path of the file.

    Raises:
        OSError: If it cannot be downloaded.
    """
    repository, revision, file = split(url)
    client = _client(url)
    with _explained(url):
        path = client.hf_hub_download(
            repository, file, revision=revision, local_dir=folder
        )
    return pathlib.Path(path)


def names(url: str) -> list[str]:
    """Returns the files of a repository; none if it does not exist."""
    repository, revision, _ = split(url)
    client = _client(url)
    with _explained(url):
        try:
            found = client.HfApi().list_repo_files(repository, revision=revision)
        except client.errors.RepositoryNotFoundError:
            return []
    return sorted(set(found) - set(_KEPT))


def upload(source: pathlib.Path, url: str):
    """Makes a repository hold the files of a folder and no others.

    A repository that does not exist is made. The token is that of `hf auth login`, or
    `HF_TOKEN`.

    Args:
        source: The folder.
        url: URL of the repository.

    Raises:
        OSError: If it cannot be written.
    """
    repository, revision, _ = split(url)
    client = _client(url)
    with _explained(url):
        api = client.HfApi()
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=source,
            revision=revision,
            delete_patterns="*",
            commit_message="Publish with smoothzoo",
        )


def _client(url):
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ImportError(
            f"'{url}' is on the Hugging Face hub: pip install huggingface_hub."
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def _explained(url):
    """Makes errors of the system, of one line, of those of the hub's client."""
    errors = _client(url).errors
    missing = errors.RemoteEntryNotFoundError, errors.RepositoryNotFoundError
    try:
        yield
    except (*missing, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"There is no '{url}' on the hub, or it is private; then `hf auth login`."
        ) from error
    except (OSError, RuntimeError, errors.HTTPError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConnectionError(f"the hub: {reason}") from error
