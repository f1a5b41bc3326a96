"""The sections of pages that show other libraries beside this package."""

import dataclasses
import pathlib
import re

from tests.helpers import markdown

ROOT = pathlib.Path(__file__).parents[2]
# A module of the name of a section looks at what its code has left in the folder.
CHECKS = pathlib.Path(__file__).parent / "checks"
# Pages, and which of their sections; None for all that install something.
PAGES = {"docs/neighbors.md": None, "docs/device.md": ("Core ML",)}
# What begins a block that runs in a process of its own, with those after it.
ANOTHER = "# In another process:\n"


@dataclasses.dataclass(frozen=True)
class Section:
    """A section that installs packages and runs code with them.

    Attributes:
        heading: What stands above it.
        packages: What `pip install` is given.
        processes: The code of each process, with line numbers of the page.
    """

    heading: str
    packages: tuple[str, ...]
    processes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The heading in small letters and underscores."""
        return re.sub(r"\W+", "_", self.heading.lower()).strip("_")


def sections() -> list[Section]:
    """Returns all sections, in order."""
    found = []
    for page, chosen in PAGES.items():
        for heading, blocks in markdown.by_heading(ROOT / page).items():
            if chosen is None or heading in chosen:
                found.append(_section(heading, blocks))
    return [section for section in found if section.packages]


def _section(heading, blocks):
    lines = [
        words
        for block in blocks
        if block.language == "bash"
        for words in markdown.commands(block)
        if words[:2] == ["pip", "install"]
    ]
    processes = []
    for block in blocks:
        if block.language == "python":
            if not processes or block.code.startswith(ANOTHER):
                processes.append("")
            # Errors then name the line of the page.
            missing = block.line - 1 - processes[-1].count("\n")
            processes[-1] += "\n" * missing + block.code
    packages = tuple(word for words in lines for word in words[2:])
    return Section(heading, packages, tuple(processes))
