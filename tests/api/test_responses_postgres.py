"""Two servers over one PostgreSQL: what one has answered, the other goes on from."""

from pathlib import Path

import pytest

from tests.api.responses_harness import RESPONSES, ResponsesHarness
from tests.stores.responses.postgres_server import running_postgres

pytestmark = pytest.mark.anyio


async def test_servers_share_what_is_kept_and_what_is_being_made(tmp_path: Path) -> None:
    with running_postgres() as postgres:
        sections = {"responses": {"database_url": postgres.url}}
        one, two = (ResponsesHarness(tmp_path, sections) for _ in range(2))
        first = await one.respond()
        await two.respond(input="more", previous_response_id=first["id"])
        assert two.last_messages == [
            ("user", "hi"), ("assistant", "Hello, wörld"), ("user", "more"),
        ]  # fmt: skip
        one.worker.hold_after = 0
        ident = (await one.respond(background=True))["id"]
        await two.background.tick()
        assert len(two.worker.generated) == 1
        one.manager.close()
        await one.background.stop()
        await two.background.tick()
        assert (await two.until_ended(ident))["status"] == "completed"
        # A server that is away is no reason to fail for who needs nothing of it.
        postgres.stop()
        refused = await two.call("POST", RESPONSES, json={"input": "hi"})
        assert refused.json()["error"]["code"] == "responses_unavailable"
        assert (await two.respond(store=False))["status"] == "completed"
        postgres.start()
        assert (await two.ask("GET", f"{RESPONSES}/{first['id']}")) == first
        for api in (one, two):
            api.kept.close()
    assert not list(tmp_path.iterdir())
