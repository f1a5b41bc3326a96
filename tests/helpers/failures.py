"""A plugin of pytest: failures are printed when they happen, if names are: `-v`."""

import pytest


class AtOnce:
    """Prints each failure, which stands in the summary at the end too."""

    def __init__(self, terminal):
        self.terminal = terminal

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.terminal.ensure_newline()
            self.terminal.section(report.nodeid, "_")
            self.terminal.write_line(report.longreprtext)


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and config.get_verbosity() > 0:
        config.pluginmanager.register(AtOnce(terminal))
