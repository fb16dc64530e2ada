"""What a person sees while the workers start: a progress bar, or log lines without a terminal."""

import logging
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import TaskID

from server.progress import ProgressLines, terminal_bar
from server.protocol import messages

log = logging.getLogger(__name__)


class StartupDisplay:
    """A context in which update() shows a worker's progress on standard error."""

    def __init__(self) -> None:
        self._bar = terminal_bar(Console(stderr=True))
        self._lines = ProgressLines(_log)
        self._task: TaskID | None = None
        self._stage = ""

    def __enter__(self) -> "StartupDisplay":
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
            self._bar = None  # what is loaded later is for the log

    def update(self, progress: messages.Progress) -> None:
        """Show where a worker is; a new stage takes the place of the one before."""
        stage, done, total = progress.stage, progress.done, progress.total
        if stage != self._stage:
            self._next_stage(stage)
        if self._bar is None:
            self._lines(stage, done, total)
        elif self._task is not None and total:
            found = self._lines.measure(stage, done, total)
            self._bar.update(self._task, completed=done, total=total, detail=found.text)

    def _next_stage(self, stage: str) -> None:
        self._stage = stage
        if self._bar is None:
            log.info("%s", stage)
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(stage, total=None, detail="")


def _log(text: str, fields: dict[str, Any]) -> None:
    log.info("%s", text, extra={"fields": {"progress": fields}})
