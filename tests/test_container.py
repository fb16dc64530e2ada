"""What the image and docker-compose.yml say; nobody can build an image here."""

import re
from pathlib import Path

import pytest

from server.config import Settings
from server.data_folder import data_folder

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
VOLUMES = [
    Path(name) for line in re.findall(r"^VOLUME (.+)$", DOCKERFILE, re.M) for name in line.split()
]
ENVIRONMENT = dict(
    pair.split("=", 1)
    for line in re.findall(r"^ENV (.+)$", DOCKERFILE, re.M)
    for pair in line.split()
)


@pytest.mark.parametrize("section", ["states", "responses", "batches"])
def test_what_clients_keep_is_in_a_volume(section, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", ENVIRONMENT["XDG_DATA_HOME"])
    given = ENVIRONMENT.get(f"RWKV_SERVER_{section.upper()}_DIRECTORY", "")
    settings = Settings.model_validate({section: {"directory": given}})
    folder = data_folder(getattr(settings, section).directory)
    assert any(folder.is_relative_to(volume) for volume in VOLUMES)


def test_what_is_cached_is_in_a_volume_too():
    cache = Path(ENVIRONMENT["RWKV_SERVER_ENGINE_CACHE_DIR"])
    assert any(cache.is_relative_to(volume) for volume in VOLUMES)


def test_compose_mounts_every_volume():
    mounted = re.findall(r"^      - \w+:(\S+)$", (ROOT / "docker-compose.yml").read_text(), re.M)
    assert {Path(path) for path in mounted} == set(VOLUMES)


def test_the_image_has_what_the_extras_need():
    locked = (ROOT / "requirements.lock").read_text()
    for package in ("psycopg", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"):
        assert re.search(rf"^{package}==", locked, re.M)
