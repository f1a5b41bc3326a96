"""The site that `make docs` builds: its contents, docstrings, links and examples."""

import ast
import importlib.util
import inspect
import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = sorted(path.name for path in (DOCS / "gallery").glob("*.py"))
# Runs an example and counts its pictures.
RUN = """
import runpy, sys
from matplotlib import pyplot
runpy.run_path(sys.argv[1], run_name="__main__")
print("pictures:", len(pyplot.get_fignums()))
"""


def extension(name):
    path = DOCS / "extensions" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"docs_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*words, **variables):
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", **variables},
        capture_output=True,
        check=False,
        text=True,
    )


def test_every_page_is_in_the_contents():
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    trees = re.findall(
        r"```\{toctree\}\n(.*?)```", (DOCS / "index.md").read_text(), re.S
    )
    listed = {line for tree in trees for line in re.findall(r"^[\w/]+$", tree, re.M)}
    assert listed == pages | {"examples/index", "reference/index"}


def test_the_gallery_shows_every_example():
    tree = ast.parse((DOCS / "conf.py").read_text())
    listed = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXAMPLES"
    )
    assert sorted(listed) == EXAMPLES
    assert len(EXAMPLES) == 11


def test_docstrings_become_those_that_sphinx_reads():
    docstring = """
        Returns `kernel` of `f(x)`s.

        In short

            y = `kernel` * x

        and so on.

        Example:

            zoo-train --model=resnet20

        Reference:
            [A Title](
            https://example.org/1) (One, 2020).
        """
    expected = """
        Returns `kernel` of ``f(x)``\\ s.

        In short

        ::

            y = `kernel` * x

        and so on.

        Example::

            zoo-train --model=resnet20

        Reference:
            `A Title <https://example.org/1>`__ (One, 2020).
        """
    converted = extension("docstrings").converted(inspect.cleandoc(docstring))
    assert converted == inspect.cleandoc(expected)


def test_fields_of_named_tuples_have_no_docstring_by_their_number():
    converted = extension("docstrings").converted
    assert converted("Alias for field number 12\n") == ""
    assert converted("Alias for field number 12 of a form") != ""


def test_links_of_the_site_are_checked(tmp_path):
    (tmp_path / "style.css").write_text("@import url(https://fonts.example.org/a)")
    (tmp_path / "a.html").write_text(
        '<link href="style.css"><script src="https://cdn.example.org/x.js"></script>'
        '<h2 id="here"></h2><a href="#here"></a><a href="b.html#there"></a>'
        '<a href="https://example.org/a_(b)?c=1#d"></a><img src="data:image/png;x">'
        '<a href="#gone"></a><a href="b.html#gone"></a><a href="c.html"></a>'
        '<a href="https://example"></a><a href="ftp://example.org"></a>'
        '<a href="https://example.org/a b"></a><img srcset="no.png 2x">'
    )
    (tmp_path / "b.html").write_text('<p id="there"></p>')
    assert extension("links").problems(tmp_path) == [
        "a.html: 'https://cdn.example.org/x.js' is needed to show the page, and comes "
        "from elsewhere.",
        "a.html: '#gone' leads to a place that the page does not have.",
        "a.html: 'b.html#gone' leads to a place that the page does not have.",
        "a.html: 'c.html' leads to a file that is not there.",
        "a.html: 'https://example' has no valid host: 'example'.",
        "a.html: 'ftp://example.org' has the scheme 'ftp', not https.",
        "a.html: 'https://example.org/a b' has characters that an address must not "
        "have.",
        "a.html: 'no.png' leads to a file that is not there.",
        "style.css: 'https://fonts.example.org/a' is elsewhere.",
    ]


class App:
    """What an extension sees of Sphinx."""

    builder = types.SimpleNamespace(format="html")

    def __init__(self, folder):
        self.srcdir, self.outdir = DOCS, folder

    def connect(self, event, function, priority):
        assert (event, priority < 500) == ("build-finished", True)  # Before the links.
        function(self, None)


def test_the_leaderboard_is_built_and_embedded(tmp_path):
    extension("leaderboard").setup(App(tmp_path))
    frames = re.findall(r'src="([^"]+)"', (DOCS / "leaderboard.md").read_text())
    assert [(tmp_path / frame).is_file() for frame in frames] == [True]
    assert extension("links").problems(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_gallery_runs_and_draws(name):
    done = run("-c", RUN, str(DOCS / "gallery" / name))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.rpartition("pictures: ")[2]) >= 1
    assert len(done.stdout.splitlines()) >= 4


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx_gallery", reason="needs the extra docs")
    options = ("-E", "-W", "--keep-going", "-D", "plot_gallery=0", "-b", "html")
    done = run("-m", "sphinx", *options, str(DOCS), str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "examples" / "reject.html").exists()
