"""The API reference: a page for each package, with every public function and class.

What the `__init__` of a package gives out stands first, under the name by which it is
imported from there; then the modules with what else they have. The commands define
flags of equal names, so no two can be imported: their page is read from the source.
"""

import ast
import importlib
import pathlib
import re

import docstrings
from sphinx.util import logging

from tests.contracts import surface

_ROOT = pathlib.Path(__file__).parents[2]
_PACKAGES = "layers", "zoo", "training"
_COMMANDS = "training.cli"
_LOGGER = logging.getLogger(__name__)


def setup(app):
    """Connects the extension with Sphinx."""
    app.connect("builder-inited", _write)
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True}


def _write(app):
    folder = pathlib.Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    pages = {name: _page(name) for name in _packages()}
    pages[_COMMANDS] = _commands()
    pages["index"] = _index(pages)
    for path in folder.glob("*.rst"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _packages() -> list[str]:
    """Returns the packages by their names, but for that of the commands."""
    found = [
        ".".join(path.parent.relative_to(_ROOT).parts)
        for package in _PACKAGES
        for path in sorted((_ROOT / package).rglob("__init__.py"))
    ]
    return [name for name in found if name != _COMMANDS]


def _modules(package) -> list[str]:
    folder = _ROOT / package.replace(".", "/")
    names = sorted(path.stem for path in folder.glob("*.py"))
    return [f"{package}.{name}" for name in names if name != "__init__"]


def _given_out(package) -> dict[str, str]:
    """Returns where the names that a package gives out are defined, by the name."""
    path = _ROOT / package.replace(".", "/") / "__init__.py"
    return {
        alias.name: f"{node.module}.{alias.name}"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }


def _public(module) -> dict[str, str]:
    """Returns the kinds of the public functions and classes of a module, by name."""
    path = _ROOT / f"{module.replace('.', '/')}.py"
    if not path.exists():
        path = path.with_suffix("") / "__init__.py"
    kinds = {ast.FunctionDef: "function", ast.ClassDef: "class"}
    return {
        node.name: kinds[type(node)]
        for node in ast.parse(path.read_text()).body
        if type(node) in kinds and not node.name.startswith("_")
    }


def _page(package) -> str:
    lines = [*_heading(package, "="), f".. automodule:: {package}", ""]
    given_out, hidden = _given_out(package), {}
    for name, where in given_out.items():
        module = where.rpartition(".")[0]
        is_module = f"{package}.{name}" in _modules(package)  # Such as `layers.blur`.
        if is_module or module not in _modules(package):
            continue
        kind = _public(module).get(name)
        if kind:
            hidden.setdefault(module, []).append(name)
            lines += [f".. auto{kind}:: {package}.{name}", *_options(kind), ""]
        else:
            lines += _constant(f"{package}.{name}", module, name)
    for name, kind in _public(f"{package}.__init__").items():
        lines += [f".. auto{kind}:: {package}.{name}", *_options(kind), ""]
    for name in _constants(package):
        lines += _constant(f"{package}.{name}", package, name)
    for module in _modules(package):
        if set(_public(module)) - set(hidden.get(module, ())):
            lines += [*_heading(module, "-"), f".. automodule:: {module}"]
            lines.append("   :members:")
            if module in hidden:
                lines.append(f"   :exclude-members: {', '.join(hidden[module])}")
            lines.append("")
    return "\n".join(lines)


def _heading(text, line):
    return [text, line * len(text), ""]


def _options(kind):
    return ["   :members:"] if kind == "class" else []


def _constants(package) -> list[str]:
    """Returns the public constants that the `__init__` of a package itself defines."""
    path = _ROOT / package.replace(".", "/") / "__init__.py"
    return [
        target.id
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and not target.id.startswith("_")
    ]


def _constant(full, module, name):
    """Returns the entry of a constant: its keys or values, and the comment above it."""
    value = getattr(importlib.import_module(module), name)
    path = pathlib.Path(importlib.import_module(module).__file__)
    source = path.read_text().splitlines()
    at = next(i for i, line in enumerate(source) if line.startswith(f"{name} ="))
    comment = []
    while source[at - 1].startswith("# "):
        at -= 1
        comment.insert(0, source[at].removeprefix("# "))
    lines = [f".. py:data:: {full}", ""]
    if comment:
        lines += [f"   {line}" for line in comment] + [""]
    if isinstance(value, dict | tuple | list | set | frozenset):
        content = ", ".join(f"``{item}``" for item in value)
    else:
        content = f"``{value!r}``"
    return [*lines, f"   {content}", ""]


def _index(pages) -> str:
    """Returns the page of contents, where each package says in a line what it is."""
    lines = [*_heading("API reference", "="), _INTRODUCTION, ""]
    lines += [".. toctree::", "   :hidden:", ""]
    lines += [f"   {name}" for name in pages] + ["", ".. list-table::", ""]
    for name in pages:
        docstring = importlib.import_module(name).__doc__ or ""
        first = docstring.strip().split("\n")[0]
        lines += [f"   * - :doc:`{name}`", f"     - {first}"]
    return "\n".join([*lines, ""])


_INTRODUCTION = """\
Every public function and class. What a package gives out stands first on its page,
under the name by which you import it: ``zoo.load``, ``layers.MCDropout``,
``training.data.load``. Names inside of modules may change between versions."""


def _commands() -> str:
    """Returns the page of the commands: what each does, its flags, its functions."""
    lines = [*_heading(_COMMANDS, "="), f".. automodule:: {_COMMANDS}", ""]
    for module in _modules(_COMMANDS):
        tree = ast.parse((_ROOT / f"{module.replace('.', '/')}.py").read_text())
        if flags := _flags(tree):
            lines += _command(module, ast.get_docstring(tree), flags)
        else:
            lines += [*_heading(module, "-"), f".. automodule:: {module}"]
            lines += ["   :members:", ""]
    return "\n".join(lines)


def _command(module, docstring, flags):
    name = module.rpartition(".")[2]
    title = "make demo" if name == "demo" else f"zoo-{name}"
    text = docstrings.converted(docstring)
    lines = [*_heading(title, "-"), text, "", ".. list-table::"]
    lines += ["   :header-rows: 1", "   :class: flags", ""]
    lines += ["   * - flag", "     - default", "     - meaning"]
    for flag, default, help_text in flags:
        lines += [f"   * - ``--{flag}``", f"     - {default}", f"     - {help_text}"]
    lines += ["", f".. py:currentmodule:: {module}", ""]
    return [*lines, ".. py:function:: main()", "                 run()", ""]


def _flags(tree) -> list[tuple[str, str, str]]:
    """Returns name, default and help of the flags that a module defines."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and "DEFINE_" in ast.unparse(node.func):
            name, default, *others = node.args
            required = any(keyword.arg == "required" for keyword in node.keywords)
            shown = f"``{ast.unparse(default)}``"
            if ast.unparse(default) in ("None", "''", "[]", "()"):
                shown = "required" if required else ""
            help_text = ast.literal_eval(others[-1])
            help_text = re.sub(r"[*`|_@]", r"\\\g<0>", help_text)
            if "DEFINE_enum" in ast.unparse(node.func):
                help_text += " One of " + ", ".join(
                    f"``{value}``" for value in ast.literal_eval(others[0])
                )
            found.append((ast.literal_eval(name), shown, help_text))
    return found


def _check(app, env):
    """Warns of each public function and class that the reference has not."""
    written = set(env.domaindata["py"]["objects"])
    for package in _packages():
        for name, where in _given_out(package).items():
            if f"{package}.{name}" in written:
                written.add(where)
    for name in surface.public(_ROOT):
        if name.replace(".__init__", "") not in written:
            _LOGGER.warning("The API reference lacks %s.", name)
