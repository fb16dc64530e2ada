import os

import pytest

from server.machine import cores


@pytest.mark.parametrize(
    ("content", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("nonsense", 8)],
)
def test_the_container_quota_counts(tmp_path, monkeypatch, content, expected):
    file = tmp_path / "cpu.max"
    file.write_text(content)
    monkeypatch.setattr(cores, "_CGROUP_V2", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores.usable_cores() == expected


def test_the_older_cgroup_files(tmp_path, monkeypatch):
    (tmp_path / "cpu.cfs_quota_us").write_text("300000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    monkeypatch.setattr(cores, "_CGROUP_V2", tmp_path / "absent")
    monkeypatch.setattr(cores, "_CGROUP_V1", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores.usable_cores() == 3
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores.usable_cores() == 8


class Machine:
    """A machine of 8 CPUs without a quota, whose NUMA nodes a test describes."""

    def __init__(self, folder, monkeypatch):
        self.nodes, self.quota = folder / "node", folder / "cpu.max"
        self.usable = set(range(8))
        self.quota.write_text("max 100000\n")
        monkeypatch.setattr(cores, "_CGROUP_V2", self.quota)
        monkeypatch.setattr(cores, "_NODES", self.nodes)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: self.usable, raising=False)

    def has_nodes(self, *lists):
        for number, cpus in enumerate(lists):
            folder = self.nodes / f"node{number}"
            folder.mkdir(parents=True)
            (folder / "cpulist").write_text(cpus + "\n")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_one_worker_for_each_node_that_may_be_used(machine):
    machine.has_nodes("0-1,4-5", "2-3,6-7", "", "8-15")
    assert cores.cpu_sets(0) == cores.cpu_sets(2) == [[0, 1, 4, 5], [2, 3, 6, 7]]
    machine.usable = {2, 6, 7, 9}
    assert cores.cpu_sets(0) == [[2, 6, 7], [9]]
    machine.usable = {2, 6}
    assert cores.cpu_sets(0) == [[]]


def test_nodes_come_in_the_order_of_their_numbers(machine):
    machine.has_nodes(*(str(n) for n in range(12)))
    machine.usable = set(range(12))
    assert cores.cpu_sets(0) == [[n] for n in range(12)]


def test_other_numbers_of_workers_get_neighbours_of_a_node(machine):
    machine.has_nodes("0,2,4,6", "1,3,5,7")
    assert cores.cpu_sets(4) == [[0, 2], [4, 6], [1, 3], [5, 7]]
    assert cores.cpu_sets(3) == [[0, 2], [4, 6, 1], [3, 5, 7]]
    assert cores.cpu_sets(8) == [[0], [2], [4], [6], [1], [3], [5], [7]]


def test_nothing_is_bound_where_it_would_not_help(machine):
    machine.has_nodes("0-3", "4-7")
    assert cores.cpu_sets(1) == [[]]
    assert cores.cpu_sets(9) == [[]] * 9
    machine.quota.write_text("350000 100000\n")
    assert cores.cpu_sets(0) == [[]]
    assert cores.cpu_sets(2) == [[], []]


@pytest.mark.parametrize("lists", [[], ["nonsense"], ["0-3"], ["0-3", "3-"]])
def test_a_system_that_does_not_tell_its_nodes(machine, lists):
    machine.has_nodes(*lists)
    assert cores.cpu_sets(0) == [[]]
    assert cores.cpu_sets(2) == [[0, 1, 2, 3], [4, 5, 6, 7]]
