"""What a person sees while the workers start: a progress bar, or log lines without a terminal."""

import logging
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from server.workers import messages

log = logging.getLogger(__name__)


class StartupDisplay:
    """A context in which update() shows a worker's progress on standard error."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
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
        if progress.stage != self._stage:
            self._next_stage(progress)
        if self._bar is not None and self._task is not None and progress.total:
            self._bar.update(self._task, completed=progress.done)

    def _next_stage(self, progress: messages.Progress) -> None:
        self._stage = progress.stage
        if self._bar is None:
            log.info("%s", progress.stage)
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(progress.stage, total=progress.total or None)
