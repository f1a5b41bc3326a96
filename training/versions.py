"""What code computes here: the commit of this package, and versions of others."""

import importlib
import importlib.metadata
import pathlib
import platform
import subprocess
from collections.abc import Iterator

import zoo


def current_commit() -> str:
    """Returns the commit of this package's checkout, or its version outside of one."""
    command = ["git", "-C", str(pathlib.Path(__file__).parent), "rev-parse", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or f"smoothzoo {zoo.__version__}"


# Those that have a say in the values.
PACKAGES = ("keras", "tensorflow", "jax", "numpy")


def versions() -> Iterator[str]:
    """Yields the name and version of this package, of Python and of what computes."""
    yield f"smoothzoo {zoo.__version__}"
    yield f"Python {platform.python_version()}"
    for package in PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
