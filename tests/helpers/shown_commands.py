"""Commands in documents and their examples: that they exist, with their flags."""

import ast
import configparser
import pathlib
import re

import zoo
from training.runtimes import places

ROOT = pathlib.Path(__file__).parents[2]
# Commands of others, which are taken as they stand.
OTHERS = {
    *("cd", "curl", "docker", "export", "git", "ls", "npm", "sudo", "tensorboard"),
    *("tensorflow_model_server", "unzip"),
}


def check_command(words, whole=True):
    """Checks a command; all of its required flags are there if it is `whole`."""
    command, *arguments = words
    if command.startswith("zoo-"):
        scripts = setup()["options.entry_points"]["console_scripts"]
        modules = dict(re.findall(r"(\S+) = (\S+):run", scripts))
        assert command in modules, f"no command {command}"
        # That each has its module is checked by `test_packaging.py`.
        if (ROOT / f"{modules[command].replace('.', '/')}.py").exists():
            check_flags(modules[command], arguments, whole)
    elif words[:2] == ["python", "-m"] and words[2].startswith("training."):
        check_flags(words[2], words[3:], whole)
    elif words[:3] == ["python", "-m", "benchmarks.results"]:
        check_flags("benchmarks.results.__main__", words[3:], whole)
    elif command == "make":
        check_make(arguments)
    elif command == "pip" or words[:3] == ["python", "-m", "pip"]:
        check_pip(arguments)
    else:
        script = arguments[0] if command == "python" else command
        is_file = "/" in script and (ROOT / script).exists()
        assert command in OTHERS or words[:2] == ["python", "-m"] or is_file, words


def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def defined_flags(module):
    """Returns the calls of `flags.DEFINE_...` in a module by the name of the flag."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        ast.literal_eval(call.args[0]): call
        for call in calls
        if getattr(call.func, "attr", "").startswith("DEFINE_")
    }


def takes_words(module):
    """Returns whether a command takes words that are no flags."""
    return "takes_words=True" in (ROOT / f"{module.replace('.', '/')}.py").read_text()


def check_flags(module, arguments, whole):
    known, given = defined_flags(module), {}
    if takes_words(module):
        arguments = [word for word in arguments if word.startswith("--")]
    for argument in arguments:
        assert argument.startswith("--"), f"{module}: {argument}"
        name, _, value = argument[2:].partition("=")
        name = name.removeprefix("no") if name not in known else name
        if argument != "--help":
            assert name in known, f"{module} has no flag --{name}"
            given[name] = value
    for name, call in known.items():
        if call.func.attr == "DEFINE_enum" and given.get(name, "...") != "...":
            assert given[name] in ast.literal_eval(call.args[2]), f"{module}: {name}"
        if whole and any(keyword.arg == "required" for keyword in call.keywords):
            assert name in given, f"{module} needs --{name}"
    for name in re.split("[,+]", given.get("model", "")):
        is_file = re.search(r"/|\.keras$|\.\.\.", name) or places.is_place(name)
        is_file = is_file or "*" in name  # A pattern.
        if name and not is_file:
            zoo.parse(name)
    recipe = given.get("recipe", "base")
    assert (ROOT / "training" / "recipes" / f"{recipe}.py").exists(), recipe


def check_make(arguments):
    makefile = (ROOT / "Makefile").read_text()
    for argument in arguments:
        variable, assigned, _ = argument.partition("=")
        pattern = rf"^{variable} \??=" if assigned else rf"^{re.escape(argument)}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"make {argument}"


def check_pip(arguments):
    extras = setup()["options.extras_require"]
    for named in re.findall(
        r"(?:^| )(?:\.|smoothzoo)\[([\w,]+)\]", " ".join(arguments)
    ):
        assert set(named.split(",")) <= set(extras), named
    for option, file in zip(arguments, arguments[1:], strict=False):
        if option in ("-c", "--constraint", "-r", "--requirement"):
            assert (ROOT / file).exists(), file
