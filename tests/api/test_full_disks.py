"""Where uploads are kept while they come, and what clients are told of a full disk."""

import errno
from pathlib import Path
from typing import Any

import pytest

from server.stores.states.store import NamedStates
from tests.api.batches_harness import BatchesHarness
from tests.api.harness import assert_error
from tests.api.states_harness import STATES, StatesHarness

pytestmark = pytest.mark.anyio


async def test_an_upload_is_kept_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's folder for temporary files may be small, or in memory."""
    api = BatchesHarness(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    content = b"0123456789abcde\n" * (3 << 16)
    for _ in range(2):
        file = (await api.upload(content)).json()
        assert file["bytes"] == len(content)
        got = await api.call("GET", f"/v1/files/{file['id']}/content")
        assert got.content == content
    assert len(list((tmp_path / "files").iterdir())) == 2
    api.batches.close()


async def test_clients_do_not_learn_which_folder_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api = BatchesHarness(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    refused = await api.upload(b"x")
    assert_error(refused, 507, "batches_full")
    assert "the disk is full" in refused.text
    assert str(tmp_path) not in refused.text
    assert str(tmp_path) in caplog.text
    api.batches.close()


async def test_nor_which_file_of_states_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[NamedStates] = []
    begin = NamedStates.__init__

    def remember(store: NamedStates, *args: Any, **kwargs: Any) -> None:
        begin(store, *args, **kwargs)
        opened.append(store)

    monkeypatch.setattr(NamedStates, "__init__", remember)
    api = StatesHarness(tmp_path)
    (store,) = opened
    (pages,) = store._file._db.execute("PRAGMA page_count").fetchone()
    store._file._db.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(50):
        refused = await api.call("POST", STATES, json={"prompt": "ab", "name": 200 * "x"})
        if refused.status_code != 200:
            break
    assert_error(refused, 507, "states_full")
    assert "the disk is full" in refused.text
    assert str(tmp_path) not in refused.text
    assert str(tmp_path) in caplog.text
