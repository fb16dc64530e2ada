"""Signs of life while a process is busy with something that takes long and says nothing."""

import contextlib
import threading
from collections.abc import Callable, Iterator

SECONDS = 1.0


@contextlib.contextmanager
def heartbeat(beat: Callable[[], None], seconds: float = SECONDS) -> Iterator[None]:
    """Call `beat` every so often, in a thread of its own, until the context is left."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(seconds):
            beat()

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
