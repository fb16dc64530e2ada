"""docs/clients.md, block by block, with the programs themselves, as far as they are installed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.server_process import ROOT, ServerProcess

SECTIONS = {
    "Codex": ("codex", "POST /v1/responses 200"),
    "Claude Code": ("claude", "POST /v1/messages 200"),
    "opencode": ("opencode", "POST /v1/chat/completions 200"),
    "Cline": ("cline", "POST /v1/chat/completions 200"),
    "Continue": ("cn", "POST /v1/chat/completions 200"),
    "aider": ("aider", "POST /v1/chat/completions 200"),
}
"""Heading → the program, and what the server logs."""
SECONDS = 240
URL = "http://127.0.0.1:8000"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with ServerProcess() as process:
        yield process.wait_until_ready()


def section(heading: str) -> str:
    text = (ROOT / "docs" / "clients.md").read_text()
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def write_files(text: str, folder: Path) -> None:
    for name, content in re.findall(r"^In `([^`]+)`:\n\n```\w+\n(.*?)```", text, re.M | re.S):
        path = Path(name.replace("~", str(folder)))
        path = path if path.is_absolute() else folder / path
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_client_works_as_documented(heading, server, tmp_path):
    program, line = SECTIONS[heading]
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    text = section(heading).replace(URL, server.url)
    write_files(text, tmp_path)
    (script,) = re.findall(r"^```sh\n(.*?)```", text, re.M | re.S)
    environment = {**os.environ, "HOME": str(tmp_path), "IS_SANDBOX": "1"}
    begun = len(server.lines)
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(line in each for each in server.lines[begun:]), server.lines[begun:]
    wrong = [each for each in server.lines[begun:] if re.search(r"(GET|POST) \S+ [45]\d\d ", each)]
    assert wrong == []
