"""From docstrings as they are written, with a little Markdown, to reStructuredText.

A link is `[title](address)`, also over two lines; code stands between single backticks;
a block that is indented behind an empty line is code or a formula.
"""

import re

_LINK = re.compile(r"\[([^\[\]]+)\]\(\s*(https?://[^\s()]+)\)")
_CODE = re.compile(r"(?<![`\w])`([^`\n]+(?:\n[^`\n]+)?)`(?!`)(?=(\w?))")
_NAME = re.compile(r"[A-Za-z_][\w.]*")
# What Python gives the fields of a named tuple as docstrings.
_ALIAS = re.compile(r"Alias for field number \d+\s*")


def setup(app):
    """Connects the extension with Sphinx, before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True}


def _process(app, what, name, obj, options, lines):
    lines[:] = converted("\n".join(lines)).split("\n")


def converted(text: str) -> str:
    """Returns a docstring in which links and code are those of reStructuredText."""
    if _ALIAS.fullmatch(text):
        return ""
    changed = _LINK.sub(r"`\1 <\2>`__", _CODE.sub(_code, _with_blocks(text)))
    return changed.replace("\0", "`")


def _with_blocks(text):
    """Returns the text with colons before indented blocks, their ticks as nulls."""
    lines, block = [""], None
    for line in text.split("\n"):
        depth = len(line) - len(line.lstrip())
        if block is not None and line.strip() and depth < block:
            block = None
        previous = next((known for known in reversed(lines) if known.strip()), "")
        around = len(previous) - len(previous.lstrip())
        starts = previous and not lines[-1].strip() and depth > around
        if block is None and starts and not line.lstrip().startswith((">>>", "* ")):
            block = depth
            if previous.endswith(":"):
                lines[lines.index(previous, -3)] += ":"
            else:
                lines[-1:] = ["", f"{' ' * around}::", ""]
        lines.append(line if block is None else line.replace("`", "\0"))
    return "\n".join(lines[1:])


def _code(match):
    """Returns a name as a reference to its object, and other code as it is."""
    code = match[0] if _NAME.fullmatch(match[1]) else f"``{match[1]}``"
    return code + ("\\ " if match[2] else "")
