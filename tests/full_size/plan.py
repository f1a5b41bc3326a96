"""All runs of a backend."""

from tests.full_size import documents, layouts, recipes
from tests.full_size.job import Run


def plan(backend: str) -> list[Run]:
    """Returns the runs of a backend, in their order."""
    return [*recipes.runs(backend), *layouts.runs(backend), *documents.runs(backend)]
