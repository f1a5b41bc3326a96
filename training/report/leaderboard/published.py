"""What is published with this package, as rows and cards of a leaderboard."""

import os

from zoo.presets import Preset, index
from zoo.presets.provenance import CARD, CONVERTED, chosen_on
from zoo.publishing import model_card

NAME = "published"  # What messages call the file of these rows.


def rows(folder: str | os.PathLike | None = None) -> list[dict]:
    """Returns the rows on the cards of all presets, and what is known of the models.

    Args:
        folder: Where `presets.json` lies, by default in the package.
    """
    presets, found = index.read(folder), []
    facts = {name: _facts(preset) for name, preset in presets.items()}
    for name, preset in presets.items():
        own = ({"model": name, **row} for row in preset.results)
        for row in (*own, *preset.others, *preset.of_posteriors):
            trained = row["model"].partition("@")[0]
            found.append({"file": NAME, **row, **facts.get(trained, {})})
    return found


def _facts(preset: Preset) -> dict:
    is_ours = preset.recipe != CONVERTED
    found = {
        "commit": preset.commit,
        "chosen_on": chosen_on(preset.seen) if is_ours else None,
        "bytes": preset.size,
        "card": f"{CARD}{preset.name}",
    }
    return {field: value for field, value in found.items() if value}


def card(name: str) -> str | None:
    """Returns the model card of a preset as Markdown; None if it has no results."""
    preset = index.read(results=False).get(name)
    preset = preset and index.with_results(preset)
    if not preset or not preset.results:
        return None
    return model_card.card(preset, f"published/{name}", saved_model=False)
