"""How much of the machine other processes took while something was measured."""

import resource
import time

import psutil


class Interference:
    """Counts from its making on."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._all, self._own = _all_seconds(), _own_seconds()

    def cores(self) -> float:
        """Cores that others kept busy on average, the hypervisor's other guests among them.

        What this process started is its own once it has ended and was waited for.
        """
        others = (_all_seconds() - self._all) - (_own_seconds() - self._own)
        return max(0.0, others / (time.monotonic() - self._started))


def _all_seconds() -> float:
    times = psutil.cpu_times()._asdict()
    idle = ("idle", "iowait", "guest", "guest_nice")  # guests are counted as user and nice too
    return float(sum(seconds for name, seconds in times.items() if name not in idle))


def _own_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
