"""The folder and the size of the disk tier by default, and as settings have them."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from server.config import Settings
from server.machine.disk import with_disk_tier


@pytest.fixture
def free(monkeypatch):
    """Sets how much the disk has free."""

    def set_free(size):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size))

    return set_free


def settings(folder, disk_bytes=-1):
    return Settings(cache={"directory": str(folder), "disk_bytes": disk_bytes})


def disk_tier(settings):
    """The folder and the size."""
    cache = with_disk_tier(settings).cache
    return Path(cache.directory), cache.disk_bytes


def test_a_tenth_of_what_is_free_up_to_a_bound(tmp_path, free):
    folder = tmp_path / "not" / "there"
    free(50 << 30)
    assert disk_tier(settings(folder)) == (folder, 5 << 30)
    free(500 << 30)
    assert disk_tier(settings(folder)) == (folder, 8 << 30)
    free(0)
    assert disk_tier(settings(folder)) == (folder, 0)


def test_what_is_kept_already_counts_as_free(tmp_path, free):
    free(9_000)
    (tmp_path / "cache.sqlite").write_bytes(bytes(1000))
    assert disk_tier(settings(tmp_path))[1] == 1000


def test_a_real_disk_tells_how_much_is_free(tmp_path):
    assert 0 < disk_tier(settings(tmp_path))[1] <= 8 << 30


def test_settings_win(tmp_path, monkeypatch):
    assert disk_tier(settings(tmp_path, 0)) == (tmp_path, 0)
    assert disk_tier(settings(tmp_path, 7)) == (tmp_path, 7)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    assert disk_tier(Settings())[0] == tmp_path / "cache" / "states"
    named = Settings(engine={"cache_dir": str(tmp_path / "engine")})
    assert disk_tier(named)[0] == tmp_path / "engine" / "states"
