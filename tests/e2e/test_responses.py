"""Responses in the real server: nothing is read again, also after a restart."""

import signal

import openai
import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.test_state_cache import until_read

MODEL = "rwkv-embedded"
INSTRUCTIONS = "You are a patient storyteller. " * 20
WILD = {"temperature": 1.5, "top_p": 1}
"""The hotter the answer, the less an encoder cuts it into the tokens that were generated."""
NEW_TOKENS = 40
"""Of "Tell me about day 1." with its role and that of the answer, and what may be read anew."""


def sdk(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="mine", max_retries=0, timeout=60)


def respond(client, seed, extra=None, **fields):
    body = {"model": MODEL, "max_output_tokens": 60, "extra_body": {"seed": seed, **(extra or {})}}
    return client.responses.create(**{**WILD, **body, **fields})


def read_anew(response):
    return response.usage.input_tokens - response.usage.input_tokens_details.cached_tokens


@pytest.fixture
def folders(tmp_path):
    """What outlives a server."""
    return {
        "RWKV_SERVER_CACHE_DIRECTORY": tmp_path / "cache",
        "RWKV_SERVER_RESPONSES_DIRECTORY": tmp_path / "data",
    }


def wait_for(client, ident, status):
    while (response := client.responses.retrieve(ident)).status != status:
        assert response.status in ("queued", "in_progress")
    return response


def take_turns(server, client, first, previous=None):
    """Two turns; each reads no more than its own tokens."""
    with server.client() as http:
        for turn in range(first, first + 2):
            question = f"Tell me about day {turn}."
            known = {"instructions": INSTRUCTIONS, "input": question}
            answer = respond(client, turn, **known, previous_response_id=previous)
            cold = respond(
                client,
                turn,
                {"no_cache": True},
                **known,
                previous_response_id=previous,
                store=False,
            )
            assert cold.output_text == answer.output_text
            assert cold.usage.input_tokens_details.cached_tokens == 0
            if previous:
                assert read_anew(answer) <= NEW_TOKENS < answer.usage.input_tokens - 100
            previous = answer.id
            until_read(http)
    return previous


def test_turns_go_on_from_the_state_also_in_the_next_server(folders):
    long = {"max_output_tokens": 600, "extra": {"ignore_eos": True}, "input": "Go on for ever."}
    with ServerProcess(**folders) as server:
        client = sdk(server.wait_until_ready())
        last = take_turns(server, client, 1)
        running = respond(client, 1, **long, background=True).id
        wait_for(client, running, "in_progress")
        server.workers()[0].kill()
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    with ServerProcess(**folders) as server:
        client = sdk(server.wait_until_ready())
        take_turns(server, client, 3, last)
        with pytest.raises(openai.NotFoundError):
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="theirs").responses.retrieve(last)
        again = wait_for(client, running, "incomplete")
        assert any("is made again" in line for line in server.lines)
        assert again.output_text == respond(client, 1, **long).output_text
