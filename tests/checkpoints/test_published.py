"""Short names of published models, wherever a model is named."""

import pytest

from server.absolute_paths import absolute_model
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.hub import HubModel, parse_model
from server.checkpoints.locate import locate
from server.checkpoints.published import PUBLISHED
from server.config_models import NamedModelSettings
from server.registry.within_directories import OutsideError, check_within


@pytest.mark.parametrize("name", [*PUBLISHED, "G1:1.5B", "World:0.1b"])
def test_a_short_name_is_a_file_of_a_repository(name):
    known = PUBLISHED[name.lower()]
    assert parse_model(name) == HubModel(known.repo, known.file)
    assert absolute_model(name) == name


@pytest.mark.parametrize("name", ["g1:3b", "g2:1.5b", "raven:7b"])
def test_an_unknown_one_lists_those_that_there_are(name):
    with pytest.raises(CheckpointError, match=r"short names are g1:0\.1b, .*world:2\.9b"):
        locate(name)


def test_a_file_of_such_a_name_is_named_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g1:3b").write_bytes(b"x")
    assert absolute_model("g1:3b") == str(tmp_path / "g1:3b")
    assert absolute_model("./g1:1.5b") == str(tmp_path / "g1:1.5b")


def test_who_has_no_key_downloads_nothing_by_a_short_name(tmp_path):
    with pytest.raises(OutsideError, match=r"g1:0\.1b"):
        check_within([str(tmp_path)], NamedModelSettings(), {"path": "g1:0.1b"})
