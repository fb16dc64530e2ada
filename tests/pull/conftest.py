"""A stand-in for the Hub, and a cache of its own, for each test."""

import pytest
from huggingface_hub import constants, file_download

from server.pull import program
from tests.pull.hub_stand_in import HubStandIn


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with HubStandIn().running() as hub:
        home = tmp_path / "home"
        monkeypatch.setenv("HF_ENDPOINT", hub.url)  # for programs
        monkeypatch.setenv("HF_HOME", str(home))
        for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # for this process, which has read them
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(file_download.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
        yield hub


@pytest.fixture
def run(hub, capsys):
    assert hub.asked == []

    def run(*arguments):
        code = program.main(list(arguments))
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def fails(run):
    """Run a command that is to fail with one line of error."""

    def fails(match, *arguments, code=2):
        found, out, err = run(*arguments)
        assert (found, out) == (code, "")
        assert err.splitlines()[-1].startswith("error: ")
        assert match in err.splitlines()[-1]

    return fails
