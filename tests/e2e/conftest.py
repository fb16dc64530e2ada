import pytest

from tests.e2e.server_process import ServerProcess


@pytest.fixture(scope="session")
def server():
    """The server on its embedded model, shared by tests that leave it as it was."""
    with ServerProcess() as process:
        yield process.wait_until_ready()
