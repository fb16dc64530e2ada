"""How much memory there is for a cache, and how much a process has."""

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
_UNKNOWN = 4 << 30


def available_bytes() -> int:
    """What can be allocated without swapping, also within a container's limit.

    4 GiB where the system does not tell.
    """
    found = [_available_of_machine()]
    try:
        limit, used = _LIMIT.read_text().strip(), int(_USED.read_text())
        if limit.isdecimal():
            found.append(max(0, int(limit) - used))
    except (OSError, ValueError):
        pass
    return min(found)


def resident_bytes(pid: int) -> int | None:
    """Of a process, with what it maps or shares; None where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _available_of_machine() -> int:
    try:
        for line in _MEMINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError):
        pass
    return _UNKNOWN
