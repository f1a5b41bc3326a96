"""Recipes by name, each a module of this package with its `RECIPE`."""

import pkgutil


def check(name: str):
    """Checks the name of a recipe.

    Raises:
        ValueError: If there is none of that name.
    """
    from zoo import spelling

    known = [m.name for m in pkgutil.iter_modules(__path__) if m.name != "base"]
    if name not in known:
        raise ValueError(
            f"Unknown recipe '{name}'.{spelling.hint(name, known)} Known: "
            f"{', '.join(sorted(known))}."
        )
