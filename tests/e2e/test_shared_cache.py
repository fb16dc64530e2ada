"""Two real servers over one real Redis: each goes on where the other has been."""

import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.test_state_cache import NEW_TOKENS, SYSTEM, chat
from tests.state_cache.redis_server import running_redis


@pytest.fixture
def redis():
    with running_redis() as server:
        yield server


def test_a_conversation_moves_between_servers_and_outlives_redis(redis):
    environment = {"RWKV_SERVER_CACHE_SHARED_URL": redis.url, "RWKV_SERVER_CACHE_DISK_BYTES": 0}
    messages = [{"role": "system", "content": SYSTEM}]

    def take_turns(http, *turns):
        """How many tokens of each turn were computed."""
        computed = []
        for turn in turns:
            messages.append({"role": "user", "content": f"Tell me about day {turn}."})
            (answer,), tokens, cached = chat(http, messages)
            assert chat(http, messages, no_cache=True) == ([answer], tokens, 0)
            messages.append({"role": "assistant", "content": answer})
            computed.append(tokens - cached)
        return computed

    with ServerProcess(**environment) as server, server.wait_until_ready().client() as http:
        take_turns(http, 0, 1, 2)
    with ServerProcess(**environment) as server, server.wait_until_ready().client() as http:
        assert max(take_turns(http, 3, 4)) <= NEW_TOKENS
        redis.stop()
        take_turns(http, 5, 6)
        chat(http, messages[:3], cache_salt="asks for what memory does not have")
        (report,) = http.get("/v1/cache").json()["data"]
        tier = report["cache"]["tiers"]["shared"]
        assert tier["hits"] == 1
        assert tier["unavailable"] > 0
    with ServerProcess(**environment) as server, server.wait_until_ready().client() as http:
        take_turns(http, 7)
