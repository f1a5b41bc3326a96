"""Builds the page of the leaderboard from its data, `docs/leaderboard.json`."""

import pathlib

from training.report import leaderboard


def setup(app):
    """Connects the extension with Sphinx."""
    app.connect("build-finished", _write, priority=100)  # Before links are checked.
    return {"parallel_read_safe": True}


def _write(app, exception):
    if exception is None and app.builder.format == "html":
        data = pathlib.Path(app.srcdir) / "leaderboard.json"
        folder = pathlib.Path(app.outdir) / "leaderboard"
        leaderboard.write(leaderboard.read([data]), folder)
