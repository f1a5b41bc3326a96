"""What `benchmarks.methods` compares: entries of tables, and how they are trained."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of a table.

    Attributes:
        label: What it is called there; a training's folder, too.
        model: Name of the network.
        flags: Of `zoo-train`, beside those of the table.
        members: Labels of the trainings that it is made of, where it has none.
    """

    label: str
    model: str
    flags: tuple[str, ...] = ()
    members: tuple[str, ...] = ()

    @property
    def trainings(self) -> tuple[str, ...]:
        """The labels of what it is made of, most often its own."""
        return self.members or (self.label,)


@dataclasses.dataclass(frozen=True)
class Table:
    """What is compared.

    Attributes:
        entries: The lines; ratios are to the first one.
        flags: Of `zoo-train`, for all.
        epochs: Of all trainings.
        attack: Settings of the evaluation under attack.
    """

    entries: tuple[Entry, ...]
    flags: tuple[str, ...]
    epochs: int
    attack: dict


def _bayesian() -> Table:
    seeds = tuple(f"plain_{seed}" if seed else "plain" for seed in range(4))
    methods = (
        *("mcdo10", "flipout", "reparam", "lrt", "llsvi"),
        *("film", "batchensemble", "rankone", "masks"),
    )
    entries = (
        *(Entry(x, "resnet20", (f"--seed={n}",)) for n, x in enumerate(seeds)),
        Entry("ensemble", "resnet20", members=seeds),
        Entry("adversarial", "resnet20", ("--set=objective=adversarial",)),
        *(Entry(method, f"resnet20_{method}") for method in methods),
        # One pass has all of its members.
        Entry("packed", "resnet20_packed", ("--set=objective=every_member",)),
        Entry(
            "stf", "resnet20_stf", ("--recipe=stf_finetune", "--weights={runs}/plain")
        ),
    )
    flags = ("--recipe=cifar10_30",)
    return Table(entries, flags, 6, {"attack": "fgsm", "epsilon": ("2/255",)})


# Layers and objectives of the comparison of what makes robust.
_LAYERS = "", "smooth", "blurpool", "antialias", "flc", "freqdrop"
_OBJECTIVES = {
    "": "cross_entropy",
    "augmix": "augmix",
    "dign": "dign:sigma=0.2:rate=1",
    "vat": "vat",
    "fgsm": "fgsm:epsilon=8/255:step_size=10/255",
}


def _robust() -> Table:
    entries = []
    for objective, settings in _OBJECTIVES.items():
        for layer in _LAYERS:
            label = "_".join(filter(None, (layer or "plain", objective)))
            name = "_".join(filter(None, ("resnet20", layer)))
            entries.append(Entry(label, name, (f"--set=objective={settings}",)))
    flags = ("--recipe=cifar10_finetune", "--weights=resnet20.akamaster_cifar10")
    attack = {"attack": "pgd", "steps": 20, "epsilon": ("2/255", "8/255")}
    return Table(tuple(entries), flags, 1, attack)


TABLES = {"bayesian": _bayesian, "robust": _robust}
