"""Programs with libraries that people build on, against a real server.

The libraries are not of this project's environment, whose versions they would change:
RWKV_TEST_CLIENTS names a folder with a `python` environment and `node_modules`, as .ci/run makes.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.server_process import ServerProcess

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*_answers.*"))
CLIENTS = Path(os.environ.get("RWKV_TEST_CLIENTS", "/nowhere"))
SECONDS = 120

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with ServerProcess() as process:
        yield process.wait_until_ready()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_library_gets_what_it_asks_for(program, server, tmp_path):
    if not CLIENTS.is_dir():
        pytest.skip("RWKV_TEST_CLIENTS names no folder with client libraries")
    if program.suffix == ".mjs":
        # Node looks for modules beside the program.
        (tmp_path / "node_modules").symlink_to(CLIENTS / "node_modules")
        program = shutil.copy(program, tmp_path)
        command = ["node", str(program)]
    else:
        command = [str(CLIENTS / "python/bin/python"), str(program)]
    done = subprocess.run(
        [*command, server.url],
        env=os.environ | {"HOME": str(tmp_path), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
