import os

import pytest

from server.workers import cores


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
