"""Progress without a terminal: a line every few seconds that people and programs read."""

import io
import re

import pytest
from rich.console import Console

from server import progress
from server.progress import LINE_SECONDS, ProgressDisplay, ProgressLines, duration_text
from tests.access.fake_clock import FakeClock

LINE = re.compile(
    r"(?P<stage>.+): (?P<done>[\d,]+) of (?P<total>[\d,]+) (?P<unit>\w+) \((?P<percent>\d+) %"
    r"(, [\d.]+ [kMG]?B/s)?(, .+ left|, in .+)?\)"
)


class Lines:
    def __init__(self, **options):
        self.clock = FakeClock()
        self.texts, self.fields = [], []
        self._lines = ProgressLines(self._emit, clock=self.clock, **options)

    def _emit(self, text, fields):
        self.texts.append(text)
        self.fields.append(fields)

    def run(self, stage, total, seconds, steps, before=0):
        for step in range(steps + 1):
            self._lines(stage, before + (total - before) * step // steps, total)
            if step < steps:
                self.clock.now += seconds / steps


def test_what_is_over_in_a_second_says_nothing():
    lines = Lines()
    lines.run("packing", 1000, 0.9, 50)
    assert lines.texts == []


def test_a_line_every_few_seconds_and_one_at_the_end():
    lines = Lines()
    lines.run("packing weights as int4", 3_000_000_000, 30, 3000)
    assert len(lines.texts) == 1 + int(29 / LINE_SECONDS) + 1
    found = [LINE.fullmatch(text) for text in lines.texts]
    assert all(found)
    assert [m["stage"] for m in found] == ["packing weights as int4"] * len(found)
    done = [int(m["done"].replace(",", "")) for m in found]
    assert done == sorted(done)
    assert done[-1] == 3_000_000_000
    assert lines.texts[-1].endswith("(100 %, 100 MB/s, in 30 s)")
    assert "100 MB/s, 24 s left" in lines.texts[1]
    assert lines.fields[1]["percent"] == 20
    assert lines.fields[1]["seconds_left"] == pytest.approx(24, abs=0.5)
    assert lines.fields[1]["per_second"] == pytest.approx(1e8, rel=0.01)


def test_the_rate_of_a_resumed_download_counts_what_came_now():
    lines = Lines(quiet_seconds=0)
    lines.run("pulling a", 2_000_000, 20, 20, before=1_000_000)
    assert lines.texts[0] == "pulling a: 1,000,000 of 2,000,000 bytes (50 %)"
    assert lines.texts[-1] == "pulling a: 2,000,000 of 2,000,000 bytes (100 %, 50 kB/s, in 20 s)"


def test_each_stage_begins_anew_and_ends_once():
    lines = Lines()
    lines.run("writing a", 10_000, 3, 30)
    lines.run("checking a", 10_000, 2, 10)
    lines._lines("checking a", 10_000, 10_000)
    ends = [text for text in lines.texts if "(100 %" in text]
    assert [text.split(":")[0] for text in ends] == ["writing a", "checking a"]
    assert ends[1].endswith("in 2.0 s)")


def test_an_unknown_total_and_an_empty_file_say_nothing():
    lines = Lines()
    lines._lines("compiling", 0, 0)
    lines.clock.now += 60
    lines._lines("compiling", 0, 0)
    assert lines.texts == []


def test_a_stage_that_stands_still_has_no_time_left():
    lines = Lines()
    lines._lines("pulling", 5, 10)
    lines.clock.now += 10
    lines._lines("pulling", 5, 10)
    assert lines.texts == ["pulling: 5 of 10 bytes (50 %)"]
    assert "seconds_left" not in lines.fields[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text


def test_a_terminal_gets_percent_rate_and_names_as_they_are(monkeypatch):
    console = Console(force_terminal=True, width=120, file=io.StringIO(), record=True)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    said = []
    with ProgressDisplay(lambda *line: said.append(line)) as display:
        display("writing [bold]a[/].st", 250, 1000)
        display("writing [bold]a[/].st", 500, 1000)
    assert not said
    shown = console.export_text()
    assert "writing [bold]a[/].st" in shown
    assert "500 of 1,000 bytes (50 %" in shown
