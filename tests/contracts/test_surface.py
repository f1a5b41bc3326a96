"""No public function is forgotten, and none is listed that is not there."""

import pathlib
import re

from tests.contracts import surface
from training import metrics

HERE = pathlib.Path(__file__).parent
PUBLIC = surface.public(HERE.parent.parent)


def test_every_public_function_has_a_contract_or_a_reason():
    known = surface.covered()
    missing = [n for n in PUBLIC if n not in known and surface.reason(n) is None]
    assert not missing, "Neither covered nor listed with a reason"


def test_what_is_listed_is_there():
    known = surface.covered()
    assert known <= set(PUBLIC), sorted(known - set(PUBLIC))
    listed = [name for names in surface.REASONS.values() for name in names]
    assert len(listed) == len(set(listed))
    for name in listed:
        inside = [other for other in PUBLIC if f"{other}.".startswith(f"{name}.")]
        assert inside, f"There is no {name}"
        assert set(inside) - known, f"{name} has contracts"


_TABLES = "CLASSIFICATION", "SEGMENTATION", "PIXEL_SETS", "DETECTION", "SEQUENCES"


def test_what_is_covered_is_called_by_a_test_of_this_folder():
    text = "".join(path.read_text() for path in HERE.glob("test_*.py"))
    for table in _TABLES:
        assert f"metrics.{table}" in text
        text += " ".join(["", *getattr(metrics, table), ""])
    for name in surface.covered():
        assert re.search(rf"\b{name.rpartition('.')[2]}\b", text), name
