"""The way of a call through the modules of `zoo`."""

import contextlib
import itertools
import sys


@contextlib.contextmanager
def recorded():
    """Yields a list of the functions of `zoo` that are called.

    It gets the module that calls, the module and name of the function, and its first
    argument; methods are left out.
    """
    calls = []

    def note(frame, event, _):
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        is_function = code.co_qualname.isidentifier() and code.co_argcount
        if event == "call" and module.startswith("zoo.") and is_function:
            caller = frame.f_back.f_globals["__name__"]
            argument = frame.f_locals[code.co_varnames[0]]
            calls.append((caller, module, code.co_name, argument))

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def rooms(calls, caller):
    """Returns the modules that one calls, in order; neighbors of one name are one."""
    found = [module for by, module, *_ in calls if by == caller != module]
    return [module for module, _ in itertools.groupby(found)]


def texts(calls, function):
    """Returns the strings that a function was called with."""
    found = [argument for *_, name, argument in calls if name == function]
    return [argument for argument in found if isinstance(argument, str)]
