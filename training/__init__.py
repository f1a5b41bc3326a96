"""Data, training, evaluation, export and publishing of the models of the zoo."""

import importlib.util
import pathlib

# Others have modules called `zoo` too; ours lies beside this package.
_spec = importlib.util.find_spec("zoo")
_ours = pathlib.Path(__file__).parent.with_name("zoo")
if _spec and pathlib.Path(_spec.origin or "").parent != _ours:
    raise ImportError(
        f"`training` needs the package {_ours}, but another module called `zoo` comes "
        f"first on sys.path: {_spec.origin}; rename it or take its folder off sys.path."
    )
