"""Checks the links of the built site, without a network.

What lies in the site must be there, with the place inside of the page. Addresses
elsewhere must be well formed. Nothing that a page needs to be shown, such as scripts,
styles, fonts and pictures, may come from elsewhere.
"""

import pathlib
import re
from html import parser
from urllib import parse

_NEEDED = {("script", "src"), ("link", "href"), ("img", "src"), ("source", "src")}
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_LOCAL = re.compile(r"localhost(:\d+)?")
_IMPORTED = re.compile(r"""(?:@import|url\()\s*["']?((?:https?:)?//[^)"'\s]+)""")


def setup(app):
    """Connects the extension with Sphinx."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True}


def _check(app, exception):
    from sphinx.util import logging

    if exception is None and app.builder.format == "html":
        for problem in problems(pathlib.Path(app.outdir)):
            logging.getLogger(__name__).warning(problem)


def problems(folder: pathlib.Path) -> list[str]:
    """Returns what is wrong with the links of all pages in a folder."""
    pages = {path: _Page(path) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for tag, attribute, target in page.links:
            problem = _problem(path, tag, attribute, target, pages)
            if problem:
                place = path.relative_to(folder)
                found.append(f"{place}: {target!r} {problem}.")
    for path in sorted(folder.rglob("*.css")):
        for target in _IMPORTED.findall(path.read_text()):
            found.append(f"{path.relative_to(folder)}: {target!r} is elsewhere.")
    return found


def _problem(path, tag, attribute, target, pages) -> str | None:
    """Returns what is wrong with one link, or None."""
    if target.startswith("data:"):
        return None
    try:
        url = parse.urlsplit(target)
    except ValueError as error:
        return f"is not an address: {error}"
    if url.scheme or url.netloc:
        return _problem_elsewhere(url, (tag, attribute) in _NEEDED)
    there = path
    if url.path:
        there = (path.parent / parse.unquote(url.path)).resolve()
        if not there.exists():
            return "leads to a file that is not there"
    names = pages[there].names if there in pages else {url.fragment}
    if url.fragment and parse.unquote(url.fragment) not in names:
        return "leads to a place that the page does not have"
    return None


def _problem_elsewhere(url, needed) -> str | None:
    if needed:
        return "is needed to show the page, and comes from elsewhere"
    if url.scheme not in ("http", "https"):
        return f"has the scheme {url.scheme!r}, not https"
    if not (_HOST.fullmatch(url.netloc) or _LOCAL.fullmatch(url.netloc)):
        return f"has no valid host: {url.netloc!r}"
    if re.search(r"[\s<>\"{}|\\^`]", url.geturl()):
        return "has characters that an address must not have"
    return None


class _Page(parser.HTMLParser):
    """The links of a page, and the places in it that a link can lead to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.names = [], {"", "top"}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append((tag, name, value))
            elif name == "srcset":
                sources = [part.split()[0] for part in value.split(",")]
                self.links += [("img", "src", source) for source in sources]
            elif name == "id" or (tag == "a" and name == "name"):
                self.names.add(value)
