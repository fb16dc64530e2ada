"""What the image and docker-compose.yml say; nobody can build an image here."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from server.config import Settings
from server.data_folder import data_folder

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["rwkv-server"]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")
HASH = r" \\\n    --hash=sha256:[0-9a-f]{64}"
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
    mounted = [text.split(":")[1] for text in COMPOSE["volumes"] if not text.endswith(":ro")]
    assert {Path(path) for path in mounted} == set(VOLUMES)


def test_the_image_has_what_the_extras_need():
    locked = (ROOT / "requirements.lock").read_text()
    for package in ("psycopg", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"):
        assert re.search(rf"^{package}==", locked, re.M)


def test_every_stage_begins_with_one_digest():
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.13-slim@sha256:[0-9a-f]{64}", bases[0])


def test_the_image_installs_only_what_a_lock_has_the_hashes_of():
    installs = re.findall(r"pip install ([^&\n]*)", DOCKERFILE)
    assert len(installs) == 3
    for arguments in installs:
        locked = re.search(r"--require-hashes -r (\S+)", arguments)
        assert locked or {"--no-deps", "--no-index"} <= set(arguments.split())
        if locked:
            assert locked[1] in LOCKS
            assert f"COPY {locked[1]} " in DOCKERFILE
            assert f"!{locked[1]}\n" in (ROOT / ".dockerignore").read_text()
    (built,) = re.findall(r"pip wheel ([^&\n]*)", DOCKERFILE)
    assert {"--no-deps", "--no-build-isolation"} <= set(built.split())


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_version_has_hashes(name):
    text = (ROOT / name).read_text()
    requirement = rf"[a-z0-9-]+(\[[a-z0-9,-]+\])?==[^ ;\n]+( ; [^\\\n]+?)?({HASH})+\n"
    assert re.fullmatch(rf"({requirement})+", text)
    assert "://" not in text


@pytest.mark.parametrize("name", LOCKS)
def test_locks_agree(name):
    def versions(lock):
        found = re.findall(r"^([a-z0-9-]+)(?:\[\S*\])?==(\S+)", (ROOT / lock).read_text(), re.M)
        return dict(found)

    # Markers may lock a package twice; none does as yet.
    known = versions("requirements-dev.lock")
    for package, version in versions(name).items():
        assert known.get(package, version) == version


def test_make_installs_with_hashes_and_locks_them():
    recipes = (ROOT / "Makefile").read_text()
    installs = re.findall(r"pip install .*-r .*", recipes)
    assert len(installs) == 2  # of uv, and of pip
    assert all("--require-hashes" in line for line in installs)
    assert "--generate-hashes" in re.search(r"^COMPILE := (.*\n\s+.*)", recipes, re.M)[1]
    assert len(re.findall(r"\$\(COMPILE\)", recipes)) == len(LOCKS)


def test_compose_takes_every_privilege_away():
    assert COMPOSE["read_only"] is True
    assert COMPOSE["cap_drop"] == ["ALL"]
    assert "cap_add" not in COMPOSE
    assert "privileged" not in COMPOSE
    assert COMPOSE["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["ports"])
    assert not any(volume.startswith(("/", "~")) for volume in COMPOSE["volumes"])


def test_compose_bounds_memory_processes_and_what_is_in_memory_files():
    limits = {name: COMPOSE[name] for name in ("mem_limit", "memswap_limit", "pids_limit")}
    for text in limits.values():
        assert re.fullmatch(r"\$\{RWKV_[A-Z]+:-\d+g?\}", text)  # a default, and how to change it
    assert limits["mem_limit"] == limits["memswap_limit"]
    for mount in COMPOSE["tmpfs"]:
        path, _, options = mount.partition(":")
        assert path == "/tmp"
        assert {"noexec", "nosuid", "nodev"} <= set(options.split(","))
        assert re.search(r"size=\d+m\b", options)


def health_check(port):
    (command,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", DOCKERFILE, re.M)
    python, *arguments = json.loads(command.replace("8000", str(port)))
    assert python == "python"
    return [sys.executable, *arguments]


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (421, 1)])
def test_the_health_check_asks_the_server_and_no_proxy(status, code, tmp_path):
    """In a folder of models that have Python files beside them."""
    (tmp_path / "http").mkdir()
    (tmp_path / "http" / "__init__.py").write_text("raise SystemExit(7)")
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit(7)")
    asked = []

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["host"].partition(":")[0]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        proxies = {"http_proxy": "http://127.0.0.1:9", "PYTHONPATH": "."}
        command = health_check(server.server_port)
        assert subprocess.call(command, cwd=tmp_path, env=os.environ | proxies) == code
        thread.join()
    assert asked == [("/ready", "127.0.0.1")]


def test_the_health_check_fails_when_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        command = health_check(taken.getsockname()[1])
        assert subprocess.run(command, capture_output=True).returncode == 1


def test_compose_names_its_service_as_a_host():
    hosts = json.loads(COMPOSE["environment"]["RWKV_SERVER_HTTP_ALLOWED_HOSTS"])
    assert hosts == ["rwkv-server"]


def test_what_is_copied_into_the_image_is_not_ignored():
    kept = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    copied = {name for line in lines for name in line.split()}
    assert "rwkv_server.py" in copied
    assert copied <= kept
