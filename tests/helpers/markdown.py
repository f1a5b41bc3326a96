"""The code blocks of Markdown files, and the shell commands in them."""

import dataclasses
import pathlib
import re
import shlex

_FENCE = re.compile(
    r"(?P<skip><!-- not run: [^\n]+ -->\n\n?)?"
    r"^ *```(?P<language>\w+)\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code; `line` is that of its first line in the file."""

    language: str
    code: str
    line: int


def blocks(path: pathlib.Path, *languages: str) -> list[Block]:
    """Returns the blocks in one of the languages.

    A block that follows a comment `<!-- not run: reason -->` is left out.
    """
    text = path.read_text()
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
