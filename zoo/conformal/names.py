"""The names of decisions: what they are, and what they promise in percent."""

import re
from fractions import Fraction

from zoo.conformal.decision import Decision
from zoo.conformal.selective import Selective
from zoo.conformal.sets import APS, LAC, RAPS
from zoo.spelling import hint


def named(name: str, seed: int | None = None) -> Decision:
    """Returns the decision of a name, which has not adapted to anything yet.

    Args:
        name: A key of `DECISIONS` and what it promises, in percent: `"aps_90"` has sets
            that cover the label with a probability of 0.9, and `"selective_5"` gives
            answers of which at most 5 % are wrong. `class_` before it makes the promise
            for each class, and `randomized_` draws at the border; `"class_lac_95"`.
        seed: Makes the draws reproducible.

    Raises:
        ValueError: If the name is not known.

    Example:

    >>> decision = named("class_randomized_aps_95")
    >>> decision.coverage, decision.class_conditional, decision.randomized
    (0.95, True, True)
    """
    words, _, percent = name.rpartition("_")
    *modifiers, kind = words.split("_")
    if kind not in DECISIONS:
        raise ValueError(
            f"Unknown decision '{name}'.{hint(kind, DECISIONS)} Decisions are named by "
            "what they are and by what they promise in percent, such as 'aps_90' or "
            f"'selective_5'. Known: {', '.join(DECISIONS)}. Received: {name}"
        )
    known = DECISIONS[kind].modifiers
    odd = [word for word in modifiers if word not in known]
    if odd or not re.fullmatch(r"\d+(\.\d+)?", percent) or not 0 < float(percent) < 100:
        raise ValueError(
            "A decision is named by what it is and by what it promises in percent, "
            f"such as '{kind}_10'; before '{kind}' may stand: "
            f"{', '.join(known) or 'nothing'}. Received: {name}"
        )
    settings = {known[word]: True for word in modifiers}
    settings[DECISIONS[kind].promises] = float(Fraction(percent) / 100)
    return DECISIONS[kind](**settings, seed=seed, name=name.replace(".", "_"))


# What `aps_90` and such begin with.
DECISIONS = {
    "lac": LAC,
    "aps": APS,
    "raps": RAPS,
    "selective": Selective,
}
