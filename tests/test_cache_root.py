"""Where what is kept between runs lies."""

from pathlib import Path

from server.cache_root import cache_root


def test_the_folder_that_is_named_wins_over_the_users(monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/named")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_root() == Path("/named")
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert cache_root() == Path("/cache/rwkv-server")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_root() == Path("/home/somebody/.cache/rwkv-server")
