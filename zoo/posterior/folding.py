"""`zoo.folding`, under the name that it had."""

from zoo.folding import PRECISIONS as PRECISIONS
from zoo.folding import check as check
from zoo.folding import fold as folded

__all__ = ["PRECISIONS", "check", "folded"]
