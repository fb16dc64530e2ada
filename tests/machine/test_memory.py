import pytest

from server.machine import memory

MEMINFO = "MemTotal:  16000000 kB\nMemAvailable:   8000000 kB\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Files of a machine with 8 GB free, and no container."""
    for name in ("_MEMINFO", "_LIMIT", "_USED"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    (tmp_path / "_MEMINFO").write_text(MEMINFO)
    return tmp_path


def limit(system, most, used):
    (system / "_LIMIT").write_text(f"{most}\n")
    (system / "_USED").write_text(f"{used}\n")


def test_what_the_machine_has_free(system):
    assert memory.available_bytes() == 8_192_000_000
    limit(system, "max", 5)
    assert memory.available_bytes() == 8_192_000_000


def test_a_container_has_less(system):
    limit(system, 3000, 1000)
    assert memory.available_bytes() == 2000
    limit(system, 3000, 4000)
    assert memory.available_bytes() == 0
    limit(system, 3000, "nonsense")
    assert memory.available_bytes() == 8_192_000_000


@pytest.mark.parametrize("content", ["", "MemTotal: 5 kB\n", "MemAvailable: much\n"])
def test_a_system_that_does_not_tell(system, content):
    (system / "_MEMINFO").write_text(content)
    assert memory.available_bytes() == 4 << 30
    (system / "_MEMINFO").unlink()
    assert memory.available_bytes() == 4 << 30
