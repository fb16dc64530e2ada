"""How many cores this process may really use, and how they are shared out among workers."""

import os
from itertools import pairwise
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
_NODES = Path("/sys/devices/system/node")


def usable_cores() -> int:
    """Cores by CPU affinity, cut to the container's CPU quota; at least 1."""
    cores = len(_usable_cpus()) or os.cpu_count() or 1
    quota = _quota()
    return max(1, min(cores, int(quota))) if quota is not None else cores


def cpu_sets(workers: int) -> list[list[int]]:
    """The CPUs of each worker; 0 workers is one for each NUMA node that may be used.

    A set is empty where a worker should not be bound: there is only one, there are more of them
    than CPUs, or a quota allows less than all CPUs, and the system knows best which are free.
    """
    nodes = _usable_nodes()
    cpus = [cpu for node in nodes for cpu in node]
    bound = bool(cpus) and usable_cores() == len(cpus)
    if not workers:
        workers = len(nodes) if bound else 1
    if not bound or workers == 1 or workers > len(cpus):
        return [[] for _ in range(workers)]
    if workers == len(nodes):
        return nodes
    ends = [len(cpus) * number // workers for number in range(workers + 1)]
    return [cpus[start:end] for start, end in pairwise(ends)]


def _usable_cpus() -> set[int]:
    """By affinity; empty where the system does not tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _usable_nodes() -> list[list[int]]:
    """The CPUs of each NUMA node that has some we may use; all as one where that is not told."""
    usable = _usable_cpus()
    nodes = []
    try:
        folders = sorted(_NODES.glob("node[0-9]*"), key=lambda folder: int(folder.name[4:]))
        for folder in folders:
            node = sorted(usable & _parse_list((folder / "cpulist").read_text()))
            if node:
                nodes.append(node)
    except (OSError, ValueError):
        nodes = []
    if {cpu for node in nodes for cpu in node} != usable:
        nodes = [sorted(usable)]
    return nodes


def _parse_list(text: str) -> set[int]:
    """The numbers of `0-3,8`; empty for a node that has memory only."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def _quota() -> float | None:
    """The cgroup's CPU quota in cores, if there is one."""
    try:
        if _CGROUP_V2.is_file():
            quota, period = _CGROUP_V2.read_text().split()
        else:
            quota = (_CGROUP_V1 / "cpu.cfs_quota_us").read_text().strip()
            period = (_CGROUP_V1 / "cpu.cfs_period_us").read_text().strip()
        if quota in ("max", "-1"):
            return None
        return float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
