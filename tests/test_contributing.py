"""What CONTRIBUTING adds to the packages works, and touches as few files as it says."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import copies, data_sets, markdown, processes
from zoo.presets import index

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
EXTENSIONS = {
    heading.partition(" ")[2]: extension
    for heading, extension in markdown.extensions(PAGE).items()
}
# A table of a block, in any brackets: its name, dots, and the lines that are new.
TABLE = re.compile(r"^(\w+) = [({[]\n    # \.\.\.\n(.*?)^[)}\]]\n", re.MULTILINE | re.S)
# Tests that find by themselves what was added, and what they find.
TESTS = (
    "tests/zoo/test_registry.py",
    "tests/zoo/models/test_architectures.py",
    "tests/training/metrics/test_scores.py",
    "tests/training/corruptions/test_corruptions.py",
)
FOUND = ("plain4", "strong", "margin", "posterize")

PACKAGES = ("layers", "zoo", "training")

each_kind = pytest.mark.parametrize("kind", EXTENSIONS)


def extended(text, code):
    """Returns the text of a module with the code of a block in it."""
    code = code.partition("\n")[2]  # Behind the name of the file.
    if not text:
        return code
    added = TABLE.search(code)
    assert added, code
    assert added.end() == len(code)
    start = re.search(rf"^{added[1]}\b.* = [({{[]$", text, re.MULTILINE).start()
    end = re.compile(r"^[)}\]]$", re.MULTILINE).search(text, start).start()
    before, lines = code[: added.start()], text[start:end]
    return text[:start] + before + lines + added[2] + text[end:]


def extend(folder, *kinds, packages=PACKAGES):
    """Makes a copy of the packages with extensions in it."""
    for package in packages:
        copies.copy(ROOT / package, folder / package, "__pycache__")
    shutil.copy2(ROOT / "setup.cfg", folder)
    for kind in kinds:
        for name, block in EXTENSIONS[kind].files.items():
            path = folder / name
            text = path.read_text() if path.exists() else ""
            path.write_text(extended(text, block.code))
    return folder


def run(folder, *command):
    """Runs Python in a copy, and returns the status and what was printed."""
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    env |= {"ZOO_CACHE": str(folder / "cache"), "KERAS_BACKEND": "tensorflow"}
    done = processes.run([sys.executable, *command], cwd=folder, env=env)
    return done.returncode, done.stdout + done.stderr


def touched(folder):
    """Returns the files of the packages that are new in a copy, or other ones."""
    found = set()
    for package in PACKAGES:
        for path in (folder / package).rglob("*"):
            name = path.relative_to(folder)
            if path.is_file() and "__pycache__" not in name.parts:
                old = ROOT / name
                if not old.exists() or old.read_bytes() != path.read_bytes():
                    found.add(name)
    return found


def promised():
    """Returns the numbers and names of files in the table, by kind."""
    rows = re.findall(r"^\| ([\w ]+) \| (\d+) \| (`.*`) \|$", PAGE.read_text(), re.M)
    return {
        kind: (int(n), set(re.findall("`(.+?)`", names))) for kind, n, names in rows
    }


def test_each_kind_has_an_example_and_a_row_of_the_table():
    assert list(promised()) == list(EXTENSIONS)
    assert len(EXTENSIONS) == 7


@pytest.fixture
def use(kind):
    """The code that uses an extension."""
    code = EXTENSIONS[kind].use.code
    if "zoo.load(" in code and not index.read():
        pytest.skip("There are no packaged weights.")
    return code


@each_kind
def test_an_example_works_and_touches_these_files(kind, use, tmp_path):
    folder = extend(tmp_path / "copy", kind)
    status, printed = run(folder, "-c", use)
    assert status == 0, printed
    files = touched(folder)
    # A new file is `x.py` in the table.
    names = {n if (ROOT / n).exists() else n.with_name("x.py") for n in files}
    assert (len(files), set(map(str, names))) == promised()[kind]


@pytest.fixture(scope="module")
def unextended(tmp_path_factory):
    """A copy without extensions."""
    return extend(tmp_path_factory.mktemp("unextended") / "copy")


@each_kind
def test_an_example_fails_without_what_it_adds(kind, use, unextended):
    status, printed = run(unextended, "-c", use)
    assert status == 1
    assert re.search("Unknown|KeyError|`objective` must be", printed), printed


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A copy with all extensions in it."""
    folder = tmp_path_factory.mktemp("together") / "copy"
    return extend(folder, *EXTENSIONS, packages=(*PACKAGES, "tests"))


def test_the_tests_find_what_was_added(together):
    # No values are stored of a corruption that was added a moment ago.
    chosen = f"({' or '.join(FOUND)}) and not stay_as_they_were"
    status, printed = run(together, "-m", "pytest", "-v", "-k", chosen, *TESTS)
    assert status == 0, printed[-3000:]
    for name in FOUND:
        assert re.search(rf"\[.*{name}.*\] PASSED", printed), name


def test_an_evaluation_takes_all_of_them(together):
    if not index.read():
        pytest.skip("There are no packaged weights.")
    folder, rng = together / "few", np.random.default_rng(0)
    folder.mkdir()
    for split in ("train", "t10k"):
        images = rng.integers(0, 256, (100, 28, 28))
        data_sets.write_idx(folder / f"{split}-images-idx3-ubyte.gz", images)
        labels = np.arange(100) % 10
        data_sets.write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
    status, printed = run(
        together,
        *("-m", "training.cli.evaluate", "--model=resnet20@prior", "--num_samples=1"),
        *("--dataset=fashion_mnist,fashion_mnist_c/posterize/3", "--ood=bars"),
        *(f"--data_dir={folder}", f"--output={together / 'out'}"),
    )
    assert status == 0, printed
    table = (together / "out" / "table.md").read_text()
    assert "| Margin (%) |" in table
    for name in (
        "fashion_mnist",
        "fashion_mnist_c/posterize/3",
        "fashion_mnist vs bars",
    ):
        assert f"| {name} | resnet20.fashion_mnist@prior | 1 |" in table


def test_a_training_and_its_publication_take_all_of_them(together):
    status, printed = run(
        together,
        *("-m", "training.cli.train", "--model=plain4_strong", "--dataset=bars"),
        *("--recipe=fashion_mnist", "--set=objective=confidence_penalty"),
        *("--set=batch_size=30", "--epochs=2", "--workdir=runs/plain4"),
    )
    assert status == 0, printed
    lines = (together / "runs/plain4/metrics.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        # A tenth of the entropy of two classes is taken off.
        assert 0 < row["nll"] - row["loss"] < 0.1 * np.log(2)
    status, printed = run(
        together,
        *("-m", "training.cli.publish", "--model=plain4_strong@prior"),
        *("--weights=runs/plain4", "--output=published", "--nosaved_model"),
        "--data_license=mit",
    )
    assert status == 0, printed
    assert "\nplain4_strong.bars@prior: of bars_validation\n" in printed
    code = "import zoo; model = zoo.load('plain4_strong@prior', weights='published')"
    status, printed = run(together, "-c", f"{code}; print(model.values())")
    assert status == 0, printed
    assert "value=[-0.693" in printed  # Of two classes with as many images.


def test_the_table_of_folders_has_each_folder_and_each_module_of_the_zoo():
    rows = re.findall(r"^\| `([\w/]+)/` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    table = dict(rows)
    assert len(table) == len(rows) > 20
    modules = {path.stem for path in (ROOT / "zoo").glob("*.py")} - {"__init__"}
    assert not modules - set(re.findall(r"`(\w+)`", table["zoo"]))
    if not (ROOT / ".git").exists():
        pytest.skip("Which folders are of the project is known in a checkout alone.")
    command = ["git", "ls-files"]
    listed = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    )
    files = [pathlib.PurePath(path) for path in listed.stdout.split()]
    folders = {path.parts[0] for path in files if len(path.parts) > 1}
    folders |= {str(path.parent) for path in files if path.name == "__init__.py"}
    named = set(re.findall(r"`([\w/]+)/`", " ".join(sum(rows, ()))))
    tests = {name for name in folders if name.startswith("tests/")}
    assert not folders - tests - {".ci"} - named - set(table)
