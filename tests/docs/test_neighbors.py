"""The page on other libraries: what `make neighbors` would run."""

import ast
import re

from tests.helpers import markdown
from tests.neighbors import pages


def test_every_block_of_the_page_belongs_to_an_environment_and_is_code():
    found = pages.sections()
    page = pages.ROOT / "docs" / "neighbors.md"
    blocks = [b for part in markdown.by_heading(page).values() for b in part]
    code = [block.code for block in blocks if block.language == "python"]
    texts = [text for section in found for text in section.processes]
    for block in code:
        assert any(block in text for text in texts), block
    assert len({section.name for section in found}) == len(found) >= 9
    for section in found:
        assert all(re.search(r"==|^torch$", x) for x in section.packages), section
        for text in section.processes:
            ast.parse(text)
    shap = next(section for section in found if section.name == "shap")
    lines = page.read_text().splitlines()
    for number, line in enumerate(shap.processes[0].splitlines()):
        assert not line or line == lines[number]


def test_a_block_that_says_so_begins_another_process():
    mlflow = next(x for x in pages.sections() if x.name == "mlflow")
    assert len(mlflow.processes) == 3
    assert pages.ANOTHER in mlflow.processes[1]
    assert pages.ANOTHER not in mlflow.processes[0]
