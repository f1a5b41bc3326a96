"""The code blocks of Markdown files, and the shell commands in them.

Blocks that extend the packages begin with a comment: the name of the file that the code
goes into, `# zoo/models/methods.py`, and for the last one `# Then:`, which uses what
was added. They do not run in the packages as they are.
"""

import dataclasses
import pathlib
import re
import shlex

_FENCE = re.compile(
    r"(?P<skip><!-- not run: [^\n]+ -->\n\n?)?"
    r"^ *```(?P<language>\w+)\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_EXTENDS = re.compile(r"# (?P<file>[\w/]+\.py|Then:)\n")


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code; `line` is that of its first line in the file."""

    language: str
    code: str
    line: int


@dataclasses.dataclass(frozen=True)
class Extension:
    """What is added to the packages, and code that uses it.

    Attributes:
        files: Blocks by the name of the file that they go into.
        use: The block that uses them.
    """

    files: dict[str, Block]
    use: Block


def blocks(path: pathlib.Path, *languages: str) -> list[Block]:
    """Returns the blocks in one of the languages.

    A block that follows a comment `<!-- not run: reason -->` is left out, and so are
    those of `extensions`.
    """
    found = _blocks(path.read_text(), languages)
    return [block for block in found if not _EXTENDS.match(block.code)]


def by_heading(path: pathlib.Path) -> dict[str, list[Block]]:
    """Returns all blocks, also those that are not run, by the `##` that they are under.

    What stands before the first of these headings is left out.
    """
    text, found = path.read_text(), {}
    outside = _FENCE.sub(lambda match: " " * len(match[0]), text)
    headings = [*re.finditer(r"^## (.+)$", outside, re.MULTILINE)]
    for match in _FENCE.finditer(text):
        above = [x[1] for x in headings if x.start() < match.start()]
        line = text.count("\n", 0, match.start("code")) + 1
        if above:
            block = Block(match["language"], match["code"], line)
            found.setdefault(above[-1], []).append(block)
    return found


def extensions(path: pathlib.Path) -> dict[str, Extension]:
    """Returns the extensions of the packages by the heading that they are under."""
    text, found, files = path.read_text(), {}, {}
    for block in _blocks(text, ("python",)):
        name = (match := _EXTENDS.match(block.code)) and match["file"]
        if name == "Then:":
            before = text.splitlines()[: block.line]
            headings = [line.lstrip("# ") for line in before if line.startswith("### ")]
            assert headings[-1] not in found, headings[-1]
            found[headings[-1]], files = Extension(files, block), {}
        elif name:
            assert name not in files, name
            files[name] = block
    assert not files, f"{[*files]} have no block '# Then:' behind them."
    return found


def _blocks(text, languages):
    return [
        Block(
            match["language"],
            match["code"],
            text.count("\n", 0, match.start("code")) + 1,
        )
        for match in _FENCE.finditer(text)
        if match["language"] in languages and not match["skip"]
    ]


def written(path: pathlib.Path) -> str:
    """Returns the text without what programs put between marks; lines keep numbers."""
    marked = r"^<!-- (?!not run)(.+) -->$.*?^<!-- end of \1 -->$"
    return re.sub(
        marked,
        lambda match: "\n" * match[0].count("\n"),
        path.read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )


def commands(block: Block) -> list[list[str]]:
    """Returns the commands of a block in words, without output and assignments.

    In a `console` block commands follow a `$`, in others each line is one.
    """
    lines = block.code.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found = []
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, "&&"]:
            if set(word) <= set("&|;"):
                found.append(words)
                words = []
            elif words or not re.fullmatch(r"\w+=.*", word):
                words.append(word)
    return [words for words in found if words]


def inline_commands(path: pathlib.Path) -> list[list[str]]:
    """Returns the commands of this project that stand inside the text."""
    text = _FENCE.sub("", path.read_text())
    spans = re.findall(r"`((?:zoo-\w+|make|python -m training)(?: [^`\n]+)?)`", text)
    return [shlex.split(span) for span in spans]
