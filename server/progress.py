"""How far something is that takes a while: a bar on a terminal, else a line every few seconds.

A line is for people and programs alike:
`STAGE: DONE of TOTAL bytes (PERCENT %, RATE/s, TIME left)`, and in the end `in TIME`.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from server.byte_sizes import shown_bytes

LINE_SECONDS = 5.0
"""Between two lines about one stage."""
QUIET_SECONDS = 1.0
"""What is over sooner gets no line."""

OnProgress = Callable[[str, int, int], None]
"""Called with (stage, bytes done, bytes in all); a total of 0 is unknown."""

Emit = Callable[[str, dict[str, Any]], None]
"""Called with a line and the same as fields."""


def print_line(text: str, _: dict[str, Any]) -> None:
    """An Emit that writes to standard error."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Measured:
    """How far a stage is, and how fast it has been since it was first heard of."""

    stage: str
    done: int
    total: int
    seconds: float
    before: int = 0
    """What was done before, as of a download that is resumed."""
    unit: str = "bytes"

    @property
    def rate(self) -> float:
        """Units per second."""
        return (self.done - self.before) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """At this rate; infinite where there is none."""
        return (self.total - self.done) / self.rate if self.rate > 0 else math.inf

    @property
    def text(self) -> str:
        """`DONE of TOTAL bytes (PERCENT %, RATE/s, TIME left)`, without what is not known."""
        parts = [f"{self._percent} %"] if self.total else []
        if self.rate > 0 and self.unit == "bytes":
            parts.append(f"{shown_bytes(round(self.rate))}/s")
        if self.done >= self.total:
            parts.append(f"in {duration_text(self.seconds)}")
        elif self.seconds_left < math.inf:
            parts.append(f"{duration_text(self.seconds_left)} left")
        return f"{self.done:,} of {self.total:,} {self.unit} ({', '.join(parts)})"

    @property
    def fields(self) -> dict[str, Any]:
        """The same for a program."""
        known = {"stage": self.stage, "done": self.done, "total": self.total, "unit": self.unit}
        known |= {"percent": self._percent, "seconds": round(self.seconds, 1)}
        if self.seconds_left < math.inf:
            known |= {"per_second": round(self.rate), "seconds_left": round(self.seconds_left, 1)}
        return known

    @property
    def _percent(self) -> int:
        return 100 * self.done // self.total if self.total else 0


class ProgressLines:
    """Emits a line now and then about the stage that is called with, and one when it is over."""

    def __init__(
        self,
        emit: Emit,
        quiet_seconds: float = QUIET_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._stage = ""
        self._started = self._next = 0.0
        self._before = 0
        self._is_over = False

    def measure(self, stage: str, done: int, total: int, unit: str = "bytes") -> Measured:
        """How fast a stage is; the first call of another one begins it."""
        now = self._clock()
        if stage != self._stage:
            self._stage, self._started, self._before = stage, now, done
            self._next, self._is_over = now + self._quiet_seconds, False
        return Measured(stage, done, total, now - self._started, self._before, unit)

    def __call__(self, stage: str, done: int, total: int, unit: str = "bytes") -> None:
        """Say it, if it is time for it. A total of 0 is unknown: there is nothing to say."""
        found = self.measure(stage, done, total, unit)
        if not total or self._is_over:
            return
        self._is_over = done >= total
        now = self._clock()
        if now >= self._next or (self._is_over and found.seconds >= self._quiet_seconds):
            self._next = now + LINE_SECONDS
            self._emit(f"{stage}: {found.text}", found.fields)


class ProgressDisplay:
    """A context in which calls of it are shown on standard error."""

    def __init__(self, emit: Emit = print_line, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._lines = ProgressLines(emit, quiet_seconds)
        self._bar = terminal_bar(Console(stderr=True))
        self._task: TaskID | None = None
        self._stage = ""

    def __enter__(self) -> "ProgressDisplay":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int, unit: str = "bytes") -> None:
        """Show where a stage is: `done` of `total` units; a total of 0 is unknown."""
        if self._bar is None:
            self._lines(stage, done, total, unit)
            return
        if stage != self._stage or self._task is None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._stage, self._task = stage, self._bar.add_task(stage, total=None, detail="")
        found = self._lines.measure(stage, done, total, unit)
        detail = found.text if total else ""
        self._bar.update(self._task, completed=done, total=total or None, detail=detail)


def terminal_bar(console: Console) -> Progress | None:
    """A bar whose tasks have a field `detail`, what is said of them; None without a terminal."""
    if not console.is_terminal:
        return None
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),  # names of files may have brackets
        BarColumn(bar_width=20),
        TextColumn("{task.fields[detail]}", markup=False),
        console=console,
        transient=True,
    )


def duration_text(seconds: float) -> str:
    """Seconds for people: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
