"""What training changes in the process that tests share."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _subnormal_floats():
    """Training flushes them to zero, for speed; other tests want them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
