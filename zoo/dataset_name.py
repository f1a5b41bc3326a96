"""The names of data sets: `fashion_mnist_c/fog/3_size/64`, `cifar10 vs digits`.

A name is that of a set, then what is done to its images, one change after the other,
each `_<kind>/<value>`; ` vs ` stands between the two sets of a detection. In the names
of means a value is `*`, and the number of sets follows: `cifar10_c/fog/* (5 sets)`.
The means over all corruptions of the benchmark, mCE and others, have no value at all:
`cifar10_c`.

Images that were made of others to mislead a model end in the attack, the norm and the
radius in gray levels: `cifar10_pgd/linf/8`. They are of that model alone.

The images that something is fitted to are a part of the training images of a set:
`cifar10_validation`, `cifar10_train/500`.
"""

import dataclasses
import functools
import re

# What a change is for those who read results, and what its values look like.
KINDS = {
    "c": "corruption",
    "corrupted": "corruption",
    "rotation": "rotation",
    "translation": "translation",
    "p": "sequence",
    "size": "size",
    "fgsm": "attack",
    "pgd": "attack",
}
_ATTACK = r"(?:linf|l2)/\d+(?:\.\d+)?"
_VALUES = {
    "c": r"(?:\w+|\*)/(?:\d+|\*)",
    "corrupted": r"\w+_\d+",  # As TensorFlow Datasets writes it: fog_3.
    "rotation": r"-?\d+(?:\.\d+)?|\*",
    "translation": r"-?\d+(?:\.\d+)?|\*",
    "p": r"\w+|\*",
    "size": r"\d+|\*",
    "fgsm": _ATTACK,
    "pgd": _ATTACK,
}
_CHANGES = "|".join(f"{kind}/(?:{value})" for kind, value in _VALUES.items())
# Names of folders may hold slashes and any of these words, so the last ones count.
_CHANGE = re.compile(rf"(.+)_({_CHANGES}|c|corrupted)", re.DOTALL)
_COUNT = re.compile(r"(.+) \((?:(1) set|([2-9]|[1-9]\d+) sets)\)", re.DOTALL)
_PART = re.compile(r"(.+)_(?:validation|train/\d+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class DatasetName:
    """What the name of a data set says; `str` of it is the name again.

    Attributes:
        base: The set as it is published, or the path of a folder.
        changes: Kinds and values of what is done to its images, in that order.
        other: The other set of a detection, or None.
        count: Over how many sets a mean is, or None.
    """

    base: str
    changes: tuple[tuple[str, str], ...] = ()
    other: str | None = None
    count: int | None = None

    def __str__(self):
        text = self.base
        for kind, value in self.changes:
            text += f"_{kind}/{value}" if value else f"_{kind}"
        if self.other is not None:
            text += f" vs {self.other}"
        if self.count is not None:
            text += f" ({self.count} set{'s' if self.count > 1 else ''})"
        return text

    @property
    def _place(self) -> int | None:
        """Which change is the shift: the last one that is not a size."""
        places = [i for i, (kind, _) in enumerate(self.changes) if kind != "size"]
        return places[-1] if places else None

    @functools.cached_property
    def shift(self) -> tuple[str, str]:
        """Kind and value of the last change but sizes; two empty texts if none."""
        return ("", "") if self._place is None else self.changes[self._place]

    @functools.cached_property
    def kind(self) -> str:
        """What results on this set are about.

        `"clean"`, `"corruption"`, `"rotation"`, `"translation"`, `"sequence"`,
        `"attack"`, `"aggregate"` (over all corruptions), or `"detection"` (a pair). A
        size changes nothing about it.
        """
        if self.other is not None:
            return "detection"
        kind, value = self.shift
        if not kind:
            return "clean"
        return KINDS[kind] if value else "aggregate"

    @property
    def change(self) -> str:
        """The corruption, perturbation or attack, or the other set of a detection."""
        if self.other is not None:
            return self.other
        kind, value = self.shift
        if KINDS.get(kind) == "attack":
            return f"{kind} {value.partition('/')[0]}"
        if kind == "corrupted":
            return value.rpartition("_")[0]
        return value.partition("/")[0] if kind in ("c", "p") else ""

    @property
    def amount(self) -> float:
        """The severity, degrees, pixels or gray levels; zero where there are none."""
        kind, value = self.shift
        number = re.search(r"-?[\d.]+$", value) if kind != "p" else None
        return float(number[0]) if number else 0.0

    @property
    def is_shifted(self) -> bool:
        """Whether its images are corrupted, rotated, translated or perturbed."""
        return self.kind in ("corruption", "rotation", "translation", "sequence")

    @property
    def is_mean(self) -> bool:
        """Whether it stands for several sets."""
        return any("*" in value for _, value in self.changes)

    @property
    def clean(self) -> "DatasetName":
        """The set whose images are shifted, in the same size; of a pair the first."""
        if self.other is not None:
            return dataclasses.replace(self, other=None, count=None)
        changes = list(self.changes)
        if self._place is not None:
            del changes[self._place]
        return DatasetName(self.base, tuple(changes))

    @property
    def whole(self) -> "DatasetName":
        """The name of the means over all corruptions of a set, `cifar10_c`."""
        clean = self.clean
        return DatasetName(clean.base, (("c", ""), *clean.changes))

    def shifted(self, value: str, count: int | None = None) -> "DatasetName":
        """Returns the name with another value of its shift.

        Args:
            value: In place of that of `shift`, `"*/*"` for a mean.
            count: Over how many sets a mean is.
        """
        changes = list(self.changes)
        changes[self._place] = (changes[self._place][0], value)
        return dataclasses.replace(self, changes=tuple(changes), count=count)


@functools.lru_cache(maxsize=10_000)
def parse(name: str) -> DatasetName:
    """Returns what the name of a data set says; any text is the name of some set.

    Example:

    >>> name = parse("fashion_mnist_c/fog/3_size/64")
    >>> name.kind, name.base, name.change, name.amount, str(name.clean)
    ('corruption', 'fashion_mnist', 'fog', 3.0, 'fashion_mnist_size/64')
    """
    match, count, changes = _COUNT.fullmatch(name), None, []
    base = name
    if match:
        base, count = match[1], int(match[2] or match[3])
    first, versus, other = base.rpartition(" vs ")
    base = first if versus else base
    while match := _CHANGE.fullmatch(base):
        base, change = match.groups()
        kind, _, value = change.partition("/")
        changes.insert(0, (kind, value))
    return DatasetName(base, tuple(changes), other if versus else None, count)


def split(name: str) -> tuple[str, str, str] | None:
    """Takes the last change off a name, whatever its value.

    Args:
        name: For example `"fashion_mnist_c/fog/3"`.

    Returns:
        The name without it, the kind, and the value, `("fashion_mnist", "c", "fog/3")`;
        None if nothing is done to the images.
    """
    match = _LAST.fullmatch(name)
    return match and match.groups()


# `corrupted` is the name of a set of TensorFlow Datasets, of which nothing is made
# here, and images of attacks are made of a model.
_MADE = [k for k, what in KINDS.items() if k != "corrupted" and what != "attack"]
_LAST = re.compile(rf"(.+)_({'|'.join(_MADE)})/(.*)", re.DOTALL)


def base_dataset(name: str) -> str:
    """Returns the name of the data set that another one is derived from.

    Example:

    >>> base_dataset("fashion_mnist_size/64")
    'fashion_mnist'
    """
    while found := split(name):
        name = found[0]
    return name


def part(name: str, count: int | None = None) -> str:
    """Returns the name of a part of the training images of a set.

    Args:
        name: Name of the set.
        count: How many of the images to train on; None for the validation set.
    """
    return f"{name}_validation" if count is None else f"{name}_train/{count}"


def without_part(name: str) -> str:
    """Returns the name of the set that `part` has named a part of, or the name itself.

    Example:

    >>> without_part(part("digits", 500)), without_part("digits")
    ('digits', 'digits')
    """
    match = _PART.fullmatch(name)
    return match[1] if match else name
