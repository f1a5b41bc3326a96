"""Pages of the site whose text lies in the root of the repository.

README, CONTRIBUTING and the changelog are written to be read there. On the site each
stands before what the page of docs/ itself has, and links point into the site.
"""

import pathlib
import re

_ROOT = pathlib.Path(__file__).parents[2]
_PAGES = {
    "index": "README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
}
_PICTURE = re.compile(r"\]\(docs/(?=\w+\.png\))")
_LINK = re.compile(r"\]\((?:\.\./)?(docs/)?([A-Za-z_]+)\.md(#[\w-]*)?\)")


def setup(app):
    """Connects the extension with Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}


def _read(app, docname, source):
    if docname in _PAGES:
        path = _ROOT / _PAGES[docname]
        app.env.note_dependency(str(path))
        own = source[0] if docname == "index" else ""
        text = _PICTURE.sub("](", path.read_text())
        source[0] = text.replace("](docs/gallery)", "](examples/index.rst)") + own
    source[0] = _LINK.sub(_inside, source[0])


def _inside(match):
    name = match[2].lower() if f"{match[2]}.md" in _PAGES.values() else match[2]
    return f"]({name}.md{match[3] or ''})"
