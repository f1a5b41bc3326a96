"""What is said when another module has the name of one of the three packages."""

import os
import pathlib
import sys

import pytest

from tests.helpers import processes

ROOT = pathlib.Path(__file__).parent.parent


def run_python(code, first):
    """Runs code with the folder `first` before the packages on `sys.path`."""
    path = os.pathsep.join([str(first), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": "jax"}
    return processes.run(
        [sys.executable, "-c", code],
        env=env,
        cwd=first,
    )


@pytest.mark.parametrize("file", ["{}.py", "{}/__init__.py"])
@pytest.mark.parametrize(
    "package, hidden",
    [("zoo", "layers"), ("training", "zoo"), ("zoo.models.blocks", "layers")],
)
def test_the_error_names_the_file_of_the_other_module(tmp_path, package, hidden, file):
    foreign = tmp_path / file.format(hidden)
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("raise RuntimeError('ran')")
    result = run_python(f"import {package}", tmp_path)
    message = result.stderr.splitlines()[-1]
    assert result.returncode == 1
    assert message.startswith(f"ImportError: `{package.partition('.')[0]}` needs")
    assert f"module called `{hidden}` comes first on sys.path: {foreign};" in message
    assert "rename it" in message


def test_a_module_that_was_imported_before_is_found_too(tmp_path):
    (tmp_path / "layers.py").touch()
    code = f"import layers, sys; sys.path = [{str(ROOT)!r}] + sys.path; import zoo"
    assert f"{tmp_path / 'layers.py'}; rename" in run_python(code, tmp_path).stderr


def test_a_training_folder_of_the_user_does_not_hide_the_package(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "layers").mkdir()
    result = run_python("import zoo, training; print(training.__file__)", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(ROOT / "training" / "__init__.py")
