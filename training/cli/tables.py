"""The words of model names, from the sources of the tables that have them.

The values of these tables make layers, so their modules import Keras, which imports
TensorFlow; that takes seconds, and what a misspelled name wants is the keys. They are
worked out from the text of the modules, with None in place of each value.
"""

import ast
import pathlib

from zoo.model_name import Words

_ROOT = pathlib.Path(__file__).parents[2]


def words() -> Words | None:
    """Returns what model names are made of; None if the sources do not say."""
    return _read(
        lambda: Words(
            Source("zoo.registry").ARCHITECTURES,
            Source("zoo.models.methods").METHODS,
            Source("zoo.posterior").POSTERIORS,
            Source("zoo.models.methods").MEMBERS,
        )
    )


def analyses() -> list[str] | None:
    """Returns the names of analyses; None if the sources do not say."""
    return _read(lambda: list(Source("training.analysis").ANALYSES))


def _read(function):
    try:
        return function()
    # No sources are installed, or a table is made of more than literals and others.
    except (OSError, SyntaxError, LookupError, TypeError, ValueError, AttributeError):
        return None


class Source:
    """The tables of a module as attributes, without their values.

    Args:
        module: Its full name.

    Example:

    >>> list(Source("zoo.posterior").POSTERIORS.items())[0]
    ('mc', None)
    """

    def __init__(self, module: str):
        self._assigned, self._imported = {}, {}
        for node in ast.parse(_path(module).read_bytes()).body:
            if isinstance(node, ast.Assign):
                self._assigned |= {ast.unparse(t): node.value for t in node.targets}
            elif isinstance(node, ast.ImportFrom):
                names = {a.asname or a.name: (node.module, a.name) for a in node.names}
                self._imported |= names

    def __getattr__(self, name):
        if name in self._assigned:
            table = _WithoutValues().visit(ast.Expression(self._assigned[name]))
            found = {node.id for node in ast.walk(table) if isinstance(node, ast.Name)}
            known = found & {*self._assigned, *self._imported}
            code = compile(ast.fix_missing_locations(table), name, "eval")
            return eval(code, {other: getattr(self, other) for other in known})
        if name not in self._imported:
            raise AttributeError(name)
        package, name = self._imported[name]
        if _path(f"{package}.{name}").exists():
            return Source(f"{package}.{name}")
        return getattr(Source(package), name)


def _path(module):
    path = _ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


class _WithoutValues(ast.NodeTransformer):
    def visit_Dict(self, node):
        self.generic_visit(node)
        pairs = zip(node.keys, node.values, strict=True)
        node.values = [ast.Constant(None) if k else value for k, value in pairs]
        return node

    def visit_DictComp(self, node):
        self.generic_visit(node)
        node.value = ast.Constant(None)
        return node
