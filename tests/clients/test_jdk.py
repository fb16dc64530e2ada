"""The HTTP client of the JDK, if there is one here."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import Harness, events, serving

pytestmark = pytest.mark.anyio

SOURCE = Path(__file__).parent / "JdkClient.java"
SIZES = [1] * 4 + [100_000] * 4


def has_jdk() -> bool:
    """Whether Java can run a source file."""
    if shutil.which("java") is None:
        return False
    listed = subprocess.run(["java", "--list-modules"], capture_output=True, text=True)
    return all(f"{name}@" in listed.stdout for name in ("jdk.compiler", "java.net.http"))


def prompt_tokens(body: str) -> int:
    """Of a whole or streamed answer."""
    if not body.startswith("data: "):
        return int(json.loads(body)["usage"]["prompt_tokens"])
    *made, last = events(body)
    assert last == "[DONE]"
    usage: dict[str, Any] = json.loads(made[-1])["usage"]
    return int(usage["prompt_tokens"])


async def test_the_jdk_offers_h2c_and_gets_its_answers() -> None:
    if not await asyncio.to_thread(has_jdk):
        pytest.skip("needs a JDK")
    async with serving(Harness().app) as url:
        java = await asyncio.create_subprocess_exec(
            "java", SOURCE, url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, said = await java.communicate()
    assert java.returncode == 0, said.decode()
    answers = [line.split("\t") for line in output.decode().splitlines()]
    assert {(status, version) for status, version, _ in answers} == {("200", "HTTP_1_1")}
    counts = [prompt_tokens(body.replace("\\n", "\n")) for _, _, body in answers]
    assert counts == SIZES * 2 + [1000] * 8
