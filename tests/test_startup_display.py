import logging

from rich.console import Console

from server import startup_display
from server.protocol.messages import Progress
from server.startup_display import StartupDisplay

STEPS = [Progress("loading weights", done, 3) for done in range(1, 4)]
STEPS += [Progress("compiling kernels", 0, 0)]


def test_without_a_terminal_each_stage_is_one_line(caplog):
    with caplog.at_level(logging.INFO), StartupDisplay() as display:
        for step in STEPS:
            display.update(step)
    assert [record.message for record in caplog.records] == ["loading weights", "compiling kernels"]


def test_a_terminal_gets_a_bar_and_no_lines(caplog, monkeypatch):
    console = Console(force_terminal=True, width=80, record=True)
    monkeypatch.setattr(startup_display, "Console", lambda **_: console)
    caplog.set_level(logging.INFO)
    with StartupDisplay() as display:
        for step in STEPS:
            display.update(step)
    assert not caplog.records
    assert "compiling kernels" in console.export_text()
    display.update(Progress("packing weights", 0, 0))  # of a model that is loaded later
    assert [record.message for record in caplog.records] == ["packing weights"]
