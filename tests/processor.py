"""How fast the processor is that tests run on, since some bounds are in its seconds."""

import json
import time

_SECONDS = 0.009
"""What the work below takes on the machine that the bounds were chosen on."""


def slowness() -> float:
    """How many times as long as there the same work takes here and now; at least 1."""
    begun = time.thread_time()
    for _ in range(20):
        json.loads(json.dumps([{"token": str(n), "logprob": -n / 7} for n in range(300)]))
    return max(1.0, (time.thread_time() - begun) / _SECONDS)
