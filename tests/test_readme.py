"""What README and documentation show: the Python code runs, the commands exist."""

import contextlib
import functools
import io
import pathlib
import re
import tempfile

import pytest

from tests.helpers import markdown
from tests.helpers.shown_commands import check_command
from zoo.presets import index

ROOT = pathlib.Path(__file__).parent.parent
FILES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
each_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT))
)


@functools.cache
def outputs(path):
    """Returns what each block of Python code of a page prints."""
    namespace, printed = {"__name__": path.stem}, []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in markdown.blocks(path, "python"):
            code = "\n" * (block.line - 1) + block.code  # Errors then name the line.
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(code, path, "exec"), namespace)
            printed.append(output.getvalue())
    return printed


@each_file
def test_the_python_code_runs(path):
    if "zoo.load(" in path.read_text() and not index.read():
        pytest.skip("There are no packaged weights.")
    outputs(path)


def test_the_first_example_prints_what_stands_at_its_end():
    path = ROOT / "README.md"
    comments = re.search(
        r"(?:^# .*\n)+\Z", markdown.blocks(path, "python")[0].code, re.M
    )
    assert outputs(path)[0] == re.sub("^# ", "", comments[0], flags=re.MULTILINE)


def test_the_first_screen_has_40_lines():
    text = (ROOT / "README.md").read_text().partition("\n## ")[0]
    shown = [x for x in text.splitlines() if not x.startswith(("<!--", "```"))]
    assert len(shown) <= 40


@each_file
def test_the_commands_and_their_flags_exist(path):
    for block in markdown.blocks(path, "bash", "sh", "console"):
        for words in markdown.commands(block):
            check_command(words)
    for words in markdown.inline_commands(path):
        check_command(words, whole=False)


@each_file
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@each_file
def test_the_lines_of_text_have_at_most_100_columns(path):
    for number, line in enumerate(markdown.written(path).splitlines(), 1):
        is_one_word = len(re.findall(r"[^\s`]+|`[^`]+`", line.rstrip(" \\"))) <= 1
        assert len(line) <= 100 or line.startswith("|") or is_one_word, (number, line)
