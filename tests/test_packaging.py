"""The wheel: what is in it, what it declares, and that it works once installed."""

import ast
import configparser
import email
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging import requirements, specifiers, version

import zoo
from zoo.presets import index

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("layers", "zoo", "training")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.tmp")
BUILD = "import sys; from setuptools import build_meta as b; b.build_wheel(sys.argv[1])"


def run(*command, **kwargs):
    """Runs a command without what this process has set up; returns its output."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, env=env, **kwargs
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what a wheel is made of, as building writes beside it."""
    folder = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=LEFT_OUT)
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-c", BUILD, str(folder), cwd=source)
    return next(folder.glob("smoothzoo-*.whl"))


def read(wheel, name):
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(f".dist-info/{name}"))
        return archive.read(name).decode()


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel, source):
    with zipfile.ZipFile(wheel) as archive:
        inside = {n: archive.read(n) for n in archive.namelist() if "info/" not in n}
    paths = [p for package in PACKAGES for p in (source / package).rglob("*")]
    expected = {p.relative_to(source).as_posix(): p for p in paths if p.is_file()}
    assert inside.keys() == expected.keys()
    for name, path in expected.items():
        assert inside[name] == path.read_bytes(), name


def test_the_wheel_holds_the_images_and_weights_that_it_promises(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "training/assets/fashion_mnist/t10k-images-idx3-ubyte.gz" in names
    assert "training/assets/fashion_mnist/t10k-labels-idx1-ubyte.gz" in names
    assert "training/assets/fashion_mnist/LICENSE" in names
    beside = {path.name for path in (ROOT / "weights").glob("*.safetensors")}
    for preset in index.read().values():
        inside = f"zoo/presets/pretrained/{preset.file}" in names
        assert preset.url or inside or preset.file in beside or preset.withdrawn


def test_the_metadata_are_those_of_the_package(wheel):
    metadata = email.message_from_string(read(wheel, "METADATA"))
    assert metadata["Name"] == "smoothzoo"
    assert metadata["Version"] == zoo.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License"] == "Apache-2.0"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()


def test_every_console_script_has_its_function(wheel):
    parser = configparser.ConfigParser()
    parser.read_string(read(wheel, "entry_points.txt"))
    scripts = dict(parser["console_scripts"])
    commands = "train", "sample", "evaluate", "export", "publish", "convert"
    commands += "data-check", "compress", "analyze", "leaderboard", "stream"
    assert scripts.keys() == {f"zoo-{command}" for command in commands}
    for target in scripts.values():
        module, _, function = target.partition(":")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
        assert function in names, target


def declared(wheel):
    """Returns all requirements by their normalized names, those of extras too."""
    metadata = email.message_from_string(read(wheel, "METADATA"))
    found = map(requirements.Requirement, metadata.get_all("Requires-Dist"))
    return {normalize(r.name): r for r in found}


def normalize(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def imported():
    """Returns the names of all modules that the packages import from elsewhere."""
    names = set()
    for path in (p for package in PACKAGES for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - set(PACKAGES)


def test_every_import_is_declared(wheel):
    owners = importlib.metadata.packages_distributions()
    for name in imported():
        candidates = {normalize(owner) for owner in owners.get(name, [name])}
        assert candidates & declared(wheel).keys(), name


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    return {name: version.Version(v) for name, v in (li.split("==") for li in lines)}


def test_the_constraints_pin_every_requirement_inside_its_range(wheel):
    pinned = pins()
    for name, requirement in declared(wheel).items():
        if name not in ("smoothzoo", "torch"):
            assert pinned[name] in requirement.specifier, name


def test_the_constraints_pin_what_the_pinned_packages_require():
    pinned, checked = pins(), 0
    for name, pin in pinned.items():
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # Of an extra that is not installed.
        if version.Version(found.version) != pin:
            continue
        checked += 1
        for requirement in map(requirements.Requirement, found.requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                specifier = specifiers.SpecifierSet(str(requirement.specifier), True)
                assert pinned[normalize(requirement.name)] in specifier, (name, pin)
    if checked < len(pinned) / 2:
        pytest.skip("Other versions than the pinned ones are installed.")


USE = """
import os, sys
import layers, training, zoo
from training import data

for module in (layers, training, zoo):
    assert module.__file__.startswith(sys.prefix), module.__file__
images = data.load("fashion_mnist", "test", data_dir=None).take(256)
assert images.images.shape == (256, 28, 28, 1)
model = zoo.build("resnet20_smooth_mcdo", images.input_shape, 10)
assert zoo.posterior.MonteCarlo(model, 2)(images.images[:2]).shape == (2, 2, 10)
from zoo.presets import index
packaged = {p.name for p in (index.FOLDER / "pretrained").iterdir()}
for name in zoo.list_models(pretrained=True):
    if index.read()[name].file not in packaged:
        continue
    logits = zoo.load(name)(images.images, training=False)
    accuracy = (logits.numpy().argmax(-1) == images.labels).mean()
    assert accuracy > 0.8, (name, accuracy)
    print(name, accuracy)
"""


def check_installed(folder):
    """Uses what is installed in a virtual environment, from a folder beside it."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    print(run(str(folder / "bin" / "python"), "-c", USE, cwd=elsewhere))
    for command in ("zoo-train", "zoo-evaluate", "zoo-export", "zoo-publish"):
        output = run(str(folder / "bin" / command), "--help", cwd=elsewhere)
        assert f"    {command} --" in output


@pytest.mark.slow
def test_the_installed_wheel_works_away_from_the_checkout(wheel, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path))
    python = str(tmp_path / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps"]
    run(*pip, "--no-index", str(wheel))
    # The dependencies are those of this process.
    outer = pathlib.Path(importlib.metadata.distribution("keras").locate_file(""))
    inner = next((tmp_path / "lib").glob("python*/site-packages"))
    (inner / "outer.pth").write_text(f"{outer}\n")
    check_installed(tmp_path)


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_environment(wheel, tmp_path):
    run(sys.executable, "-m", "venv", str(tmp_path))
    constraints = str(ROOT / "constraints.txt")
    pip = [str(tmp_path / "bin" / "python"), "-m", "pip"]
    run(*pip, "install", "--constraint", constraints, str(wheel))
    run(*pip, "check")
    check_installed(tmp_path)
