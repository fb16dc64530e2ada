"""What the API process says of itself."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from server import serve
from tests.e2e.server_process import ROOT


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 80), "http://127.0.0.1:80"),
        (("::1", 8000, 0, 0), "http://[::1]:8000"),
    ],
)
def test_the_url_in_the_log_can_be_opened(address, url):
    assert serve._url_of(SimpleNamespace(getsockname=lambda: address)) == url


def test_what_there_is_before_requests_is_passed_over_by_the_collector():
    """In a process of its own: it holds for all of one."""
    code = (
        "import gc; from server.serve import keep_out_of_collections as keep; keep(); "
        "print(gc.get_freeze_count() > 10_000, len(gc.get_objects()) < 1_000)"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "True"]
