"""What every command shares: flags, help, and errors on one line."""

import functools
import logging as python_logging
import re
import signal
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

# Mistakes of the user, or of the machine, that a message explains.
_EXPLAINED = (
    *(ValueError, FloatingPointError, OSError, ImportError, MemoryError),
    app.UsageError,
)


def run(main: Callable, takes_words: bool = False):
    """Runs a command and exits.

    A flag that is wrong ends with code 2; a `ValueError`, an `OSError` (a file that
    is missing, a full disk), an `ImportError` or an `app.UsageError` with code 1;
    each prints one line. An interrupt ends with code 130. Any other error keeps its
    traceback; `--verbosity=1` keeps all of them.

    Args:
        main: Function in the module that defines the flags, whose docstring is the help
            of the command.
        takes_words: Whether it takes the words that are no flags, a list. Without, they
            are a mistake, and it has no arguments.
    """
    flags.FLAGS.set_gnu_getopt(takes_words)  # Flags may stand behind these words.
    app.run(
        functools.partial(_run, main, takes_words),
        flags_parser=functools.partial(_parse, sys.modules[main.__module__]),
    )


def load_model(
    name: str,
    weights: str | None = None,
    outputs: str = "logits",
    input_range: Sequence[float] = (0.0, 255.0),
    classes: Sequence[str] = (),
    num_samples: int = 10,
    adapt: str | None = None,
    decision=None,
    data_dir: str | None = None,
    check: Callable = lambda posterior: None,
):
    """Returns the model of a name of the zoo or of a `.keras` file, or a posterior.

    Args:
        name: Name of the model, or the path of the file; an ensemble or a posterior as
            `training.evaluation.models` takes it. A posterior that has to learn from
            data adapts to the images of its weights' training: to the validation set,
            or where it is fitted to what these know, as `laplace`, to the others.
        weights: A file or folder, of a model of the zoo alone.
        outputs: What that in the file returns; see
            `training.evaluation.external_models`.
        input_range: What it takes; see there.
        classes: Names of the classes of a file that does not know them, or the path of
            a text file with one in each line.
        num_samples: Forward passes of a posterior of a stochastic model.
        adapt: Name of a data set whose images a posterior adapts to in place of those
            of the training.
        decision: A `zoo.conformal.Decision` that adapts to validation images too; the
            model is a posterior then.
        data_dir: Folder of the files of the data set; see `training.data.load`.
        check: Called with a posterior before it adapts, which may take long.
    """
    import zoo  # Takes seconds, and nothing else here needs it.
    from training.data.readers import label_files
    from training.evaluation import adaptation, external_models, models
    from training.runtimes import places
    from zoo import finding
    from zoo.posterior.monte_carlo import as_posterior
    from zoo.registry import split_posterior

    of_models, kind = split_posterior(name)

    def adapted(posterior):
        check(posterior)
        if decision is not None or not posterior.is_adapted:
            first = adapt or models.trained_on(of_models, weights)
            adaptation.adapt(
                posterior,
                of_models,
                weights,
                first,
                data_dir=data_dir,
                decision=decision,
            )
        return posterior

    def decided(model):
        if decision is None:
            return model
        return adapted(as_posterior(model, num_samples))

    if kind or len(finding.members(name, weights)) > 1:
        loaded = models.load(
            [name],
            [weights],
            num_samples=num_samples,
            outputs=outputs,
            input_range=input_range,
            classes=label_files.given(classes),
            in_keras=True,
        )
        (posterior,) = loaded.values()
        return adapted(posterior)
    if adapt and decision is None:
        raise ValueError(
            "`--adapt` is for decisions and for posteriors that learn from data, such "
            f"as '{name}@temperature'. Received: adapt={adapt}"
        )
    if places.is_place(name):
        raise ValueError(
            f"'{name}' was exported already; export the model that it was made of. "
            f"Received: model={name}"
        )
    if not name.endswith(".keras"):
        if classes:
            raise ValueError(
                f"'{name}' knows its classes; `classes` is for .keras files. Received: "
                f"classes={','.join(classes)}"
            )
        return decided(zoo.load(name, weights=weights or None))
    if weights:
        raise ValueError(f"'{name}' has its own weights. Received: weights={weights}")
    names = label_files.given(classes)
    return decided(external_models.read(name, outputs, input_range, names)[0])


def are_positive(numbers: Sequence[str]) -> bool:
    """Returns whether there are numbers, all of them positive integers."""
    return bool(numbers) and all(n.isdecimal() and int(n) for n in numbers)


LOCAL = "must be a local path; mount the bucket, or copy what is written there"


def is_local(path: str | None) -> bool:
    """Returns whether a path is not a URL, for outputs that cannot be behind one."""
    is_url = path and re.match(r"[A-Za-z][\w+.-]+:/", path)  # Also if mistyped.
    return not is_url


def _run(main, takes_words, argv):
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # `app.run` has raised it.
        python_logging.getLogger("jax").setLevel("WARNING")  # It lists missing devices.
        logger = python_logging.getLogger("tensorflow")
        logger.setLevel("WARNING")
        # It takes functions of several models for one that is traced again and again,
        # and tensorflow-probability takes the real part of a transform.
        noise = "retracing", "discard the imaginary part"
        logger.addFilter(lambda r: not any(n in r.getMessage() for n in noise))
    interrupts = []

    def interrupt(number, frame):
        interrupts.append(number)
        raise KeyboardInterrupt

    # Where a shell has told the command to ignore it, that stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        if len(argv) > 1 and not takes_words:
            raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
        main(*([argv[1:]] if takes_words else []))
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:
        # A C function that is interrupted may end with a `SystemError` of its own.
        if interrupts and isinstance(error, SystemError):
            _fail("interrupted", 130)
        if logging.level_debug() or not isinstance(error, _EXPLAINED):
            raise
        _fail(error, 1)


def _parse(module, argv):
    if {"--help", "-help", "-h", "--helpshort"} & set(argv[1:]):
        print(f"{module.__doc__}\n{flags.FLAGS.module_help(module)}")
        sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        return _fail(error, 2)


def _fail(error, code: int):
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(code)
