"""The names of models: `resnet50_smooth_mcdo.imagenet@laplace:structure=diagonal`.

Strings only, so that commands look at names before they import what makes models of
them; see `zoo.registry`.
"""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Collection

from zoo import spelling

_TAG = re.compile(r"\w[\w.-]*")


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What a model name means; `str(spec)` is the name again.

    Attributes:
        architecture: A key of `zoo.registry.ARCHITECTURES`.
        methods: Keys of `zoo.models.methods.METHODS`, or of its `MEMBERS` with a number
            behind, in the order of the name.
        tag: Names the weights, or None.
        posterior: A key of `zoo.posterior.POSTERIORS`, or None for the model itself.
        settings: Arguments of the posterior by name, as text, in the order of the name;
            `Posterior.parse_settings` has their values.
    """

    architecture: str
    methods: tuple[str, ...] = ()
    tag: str | None = None
    posterior: str | None = None
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def stem(self) -> str:
        """The name without tag and posterior."""
        return "_".join((self.architecture, *self.methods))

    @property
    def of_model(self) -> "ModelSpec":
        """The specification of the model alone."""
        return dataclasses.replace(self, posterior=None, settings=())

    def __str__(self):
        name = f"{self.stem}.{self.tag}" if self.tag else self.stem
        if not self.posterior:
            return name
        settings = (f":{key}={value}" for key, value in self.settings)
        return f"{name}@{self.posterior}{''.join(settings)}"


@dataclasses.dataclass(frozen=True)
class Words:
    """The words that names are made of.

    Attributes:
        architectures: Keys of `zoo.registry.ARCHITECTURES`.
        methods: Keys of `zoo.models.methods.METHODS`.
        posteriors: Keys of `zoo.posterior.POSTERIORS`.
        members: Keys of `zoo.models.methods.MEMBERS`, behind which stands a number.
    """

    architectures: Collection[str]
    methods: Collection[str]
    posteriors: Collection[str]
    members: Collection[str] = ()


def read(name: str | ModelSpec, words: Words) -> ModelSpec:
    """Reads a model name, as `zoo.registry.parse` does.

    Args:
        name: The name, or a specification, which is returned as it is.
        words: What it may be made of.
    """
    if isinstance(name, ModelSpec):
        return name
    of_model, at, behind = str(name).partition("@")
    posterior, settings = read_posterior(behind)
    stem, dot, tag = of_model.partition(".")
    if not isinstance(name, str) or (dot and not tag) or (at and not posterior):
        raise ValueError(
            "A model name must be a string such as 'resnet20_mcdo', with a tag behind "
            "a dot and a posterior behind an @ if there are any. "
            f"Received: name={name}"
        )
    if "+" in of_model + posterior and "/" not in name:  # Not a path.
        raise ValueError(
            "A model name is that of one model. Several joined by + are an ensemble "
            "for zoo-evaluate and zoo-export; in Python, give the loaded models to "
            "`zoo.posterior.DeepEnsemble([zoo.load(...), zoo.load(...)])`. "
            f"Received: name={name}"
        )
    if at and posterior not in words.posteriors:
        raise _unknown("posterior", posterior, words.posteriors, name)
    matches = [a for a in words.architectures if f"{stem}_".startswith(f"{a}_")]
    if not matches:
        start = _first_words(stem, words.architectures)
        raise _unknown("architecture", start, words.architectures, name)
    architecture = max(matches, key=len)
    methods = tuple(stem.removeprefix(architecture).split("_")[1:])
    for method in methods:
        if method not in words.methods:
            _check_counted(method, words, name)
        if methods.count(method) > 1:
            raise ValueError(
                f"The model name '{name}' has the method '{method}' twice; "
                "name each method once."
            )
    if dot and not _TAG.fullmatch(tag):
        raise ValueError(
            f"The tag '{tag}' of a model name must be of letters, digits, '_', '-' and "
            "'.', and begin with a letter, a digit or '_', such as 'fashion_mnist' or "
            f"'a1_in1k'. Received: name={name}"
        )
    return ModelSpec(architecture, methods, tag or None, posterior or None, settings)


def split_count(method: str) -> tuple[str, int | None]:
    """Takes the number of members off a method.

    Args:
        method: A word of a model name.

    Returns:
        The word before the number; and the number, or None if there is none.

    Example:

    >>> split_count("film4"), split_count("smooth")
    (('film', 4), ('smooth', None))
    """
    stem = method.rstrip("0123456789")
    digits = method.removeprefix(stem)
    return stem, int(digits) if digits else None


def split_number(name: str) -> tuple[str, int]:
    """Takes the number of trainings off a name.

    Args:
        name: Name of a model without a posterior.

    Returns:
        The name before the `*`; and the number behind it, 1 if there is none.

    Raises:
        ValueError: If another text is behind it.

    Example:

    >>> split_number("resnet20.cifar10*3")
    ('resnet20.cifar10', 3)
    """
    of_model, star, digits = name.rpartition("*")
    if not star:
        return name, 1
    if not of_model or not digits.isdecimal() or int(digits) < 2:
        raise ValueError(
            "Behind a * stands of how many trainings a model is an ensemble, two at "
            f"least, as in 'resnet20.cifar10*3'. Received: name={name}"
        )
    return of_model, int(digits)


def read_posterior(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Reads what is behind the @ of a name.

    Args:
        text: A posterior, and its settings behind a colon each.

    Returns:
        The key of the posterior, and names and values of settings.

    Raises:
        ValueError: If something else is behind a colon, or a setting is there twice.

    Example:

    >>> read_posterior("laplace:subset=all:structure=diagonal")
    ('laplace', (('subset', 'all'), ('structure', 'diagonal')))
    """
    posterior, *parts = text.split(":")
    pairs = tuple(part.partition("=")[::2] for part in parts)
    names = [name for name, _ in pairs]
    if not all(name and value for name, value in pairs):
        raise ValueError(
            "Behind a posterior stand its settings, such as "
            "'@laplace:subset=all:structure=diagonal', each a name and a value. "
            f"Received: @{text}"
        )
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"The setting '{min(twice)}' of a posterior has two values; give one. "
            f"Received: @{text}"
        )
    return posterior, pairs


def split_posterior(name: str, posteriors: Collection[str]) -> tuple[str, str | None]:
    """Takes the posterior off a name, as `zoo.registry.split_posterior` does.

    Args:
        name: What names a model, an ensemble, a file or a URL.
        posteriors: The posteriors that there are.
    """
    of_model, _, behind = name.rpartition("@")
    if behind.partition(":")[0] not in posteriors:
        return name, None
    read_posterior(behind)  # For its errors.
    return of_model, behind


def _check_counted(method: str, words: Words, name: str):
    """Checks a word that is no method by itself."""
    stem, count = split_count(method)
    if stem not in words.members:
        raise _unknown("method", method, words.methods, name)
    if count == 0 or f"{stem}{count}" != method:
        raise ValueError(
            "The number behind a method is that of its members, a positive integer as "
            f"in '{stem}4'. Received: name={name}"
        )


def _first_words(stem: str, architectures: Collection[str]) -> str:
    """Returns the start of a name that is the most like an architecture."""
    starts = list(itertools.accumulate(stem.split("_"), "{}_{}".format))
    likeness = difflib.SequenceMatcher(None)

    def nearest(start):
        likeness.set_seq2(start)
        return max(likeness.set_seq1(a) or likeness.ratio() for a in architectures)

    return max(starts, key=nearest)


def _unknown(kind: str, word: str, known: Collection[str], name: str) -> ValueError:
    longer = [other for other in known if word and other.startswith(f"{word}_")]
    hint = spelling.hint(longer[0] if longer else word, known)
    return ValueError(
        f"Unknown {kind} '{word}' in the model name '{name}'.{hint} "
        f"Known: {', '.join(sorted(known))}."
    )
