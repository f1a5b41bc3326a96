"""Whether the figures of trainings are those of one device, and of their weights."""

from tests.full_size.job import Outcome

# Relative: of losses that were added up in another order in float32, and of the same
# in 16 bits.
VALIDATION = {False: 5e-6, True: 5e-3}
# In 16 bits some single images change their class: 28 of 10,000 were seen.
SINGLE_IMAGES = {False: 5e-6, True: 3e-2}
# The updates of several devices differ in their rounding, which each of them
# multiplies (in float64 they agree to 1e-7): the means over all updates show it least,
# and the figures of the last weights and single images most.
TRAINING = {False: 5e-3, True: 3e-2}
OTHERS = {False: 5e-2, True: 3e-1}
# Smaller figures are held to the rate of this one: accuracies near chance.
SCALE = 0.2
_MEANS = "loss", "nll", "learning_rate"
# Means over an epoch are sums on each device, which a checkpoint adds up.
_RESUMED = 1e-6


def judge(outcome: Outcome, outcomes: dict[str, Outcome], computed: dict | None):
    """Sets verdict and problem of an outcome by those that it is compared with.

    Args:
        outcome: Outcome of a run.
        outcomes: Outcomes of all runs, by name.
        computed: What its weights give by themselves, if it is known.
    """
    if outcome.problem:
        return
    problems = []
    if outcome.run.like in outcomes:
        problems.append(with_other(outcome, outcomes[outcome.run.like]))
        outcome.verdict = "equal"
    if computed is not None:
        problems.append(with_weights(outcome, computed))
        outcome.verdict = "equal"
    outcome.problem = "; ".join(filter(None, problems))
    if outcome.problem:
        outcome.verdict = "differs"


def with_other(outcome: Outcome, other: Outcome) -> str:
    """Returns how the figures differ from those of another run; empty if not at all."""
    run, ours, theirs = outcome.run, outcome.figures, other.figures
    if not theirs:
        return f"nothing to compare with: {other.run.name} has no figures"
    if ours.keys() != theirs.keys():
        return f"figures {sorted(ours)} in place of {sorted(theirs)}"
    rates = {k: (TRAINING if k in _MEANS else OTHERS)[run.half] for k in ours}
    if run.exact:
        rates = {k: _RESUMED if k in _MEANS else 0.0 for k in ours}
    return _differences(ours, theirs, rates, other.run.name)


def with_weights(outcome: Outcome, computed: dict) -> str:
    """Returns how the figures of images that are not trained on differ."""
    figures = outcome.figures
    if not computed or not figures:
        return "no figures of the weights by themselves"
    ours, theirs = {}, {}
    for prefix, values in computed.items():
        nll = f"{prefix}_nll" if f"{prefix}_nll" in figures else f"{prefix}_loss"
        found = {nll: values["nll"], f"{prefix}_accuracy": values["accuracy"]}
        for key, value in found.items():
            ours[key], theirs[key] = figures.get(key, float("nan")), value
    rates = {
        key: (SINGLE_IMAGES if key.endswith("accuracy") else VALIDATION)[
            outcome.run.half
        ]
        for key in ours
    }
    return _differences(ours, theirs, rates, "the weights by themselves")


def _differences(ours, theirs, rates, name):
    odd = [
        f"{key} {value:.7g} and {theirs[key]:.7g}"
        for key, value in ours.items()
        if not abs(value - theirs[key]) <= rates[key] * max(abs(theirs[key]), SCALE)
    ]
    return f"unlike {name}: {', '.join(odd)}" if odd else ""
