"""Named states in the real server: what goes on from one is what the whole prompt gives."""

import signal

import pytest
from openai import OpenAI

from server.protocol.messages import ModelSpec
from server.registry.served_model import open_model
from server.tokenizer.continued_template import ContinuedTemplate
from tests.e2e.server_process import ServerProcess, run_cli

STORY = "Once upon a time there was a lighthouse on a rock far from the coast."
REST = " An old man lived there with his dog. Every evening"
GREEDY = {"temperature": 0, "max_tokens": 20}
SEEDED = {"temperature": 1, "top_p": 0.9, "seed": 7, "max_tokens": 20}


@pytest.fixture(scope="module")
def tokens():
    """What the embedded model's tokenizer and template do."""
    return open_model(ModelSpec("embedded", ""))


@pytest.fixture(scope="module")
def http(server):
    with server.client(headers={"authorization": "Bearer mine"}) as client:
        yield client


def ask(http, method, path, **content):
    reply = http.request(method, path, **content)
    assert reply.status_code == 200, reply.text
    return reply.json()


def complete(http, prompt, **fields):
    return ask(http, "POST", "/v1/completions", json={"prompt": prompt, **fields})


def text(answer):
    return answer["choices"][0]["text"]


def refused(http, method, path, **content):
    reply = http.request(method, path, **content)
    return reply.status_code, reply.json()["error"]["code"]


def test_a_state_and_the_rest_give_the_answer_of_the_whole_prompt(http, tokens):
    ids, rest = tokens.tokenizer.encode(STORY), tokens.tokenizer.encode(REST)
    state = ask(http, "POST", "/v1/states", json={"prompt": ids, "name": "story"})
    assert state["tokens"] == len(ids)
    for how in (GREEDY, SEEDED):
        for no_cache in (True, False):
            whole = complete(http, ids + rest, no_cache=no_cache, **how)
            split = complete(http, rest, state_id=state["id"], no_cache=no_cache, **how)
            assert text(split) == text(whole)
            assert split["usage"]["prompt_tokens"] == len(rest)
        # Nothing more to say: what the state itself goes on with.
        assert text(complete(http, "", state_id=state["id"], **how)) == text(
            complete(http, ids, **how)
        )


def test_fork_export_delete_and_import_keep_the_answer(http):
    state = ask(http, "POST", "/v1/states", json={"prompt": STORY})
    path = f"/v1/states/{state['id']}"
    expected = text(complete(http, REST, state_id=state["id"], **SEEDED))
    fork = ask(http, "POST", f"{path}/fork", json={"name": "fork"})
    file = http.get(f"{path}/export").content
    assert len(file) == state["bytes"]
    ask(http, "DELETE", path)
    body = {"prompt": "a", "state_id": state["id"]}
    assert refused(http, "POST", "/v1/completions", json=body) == (404, "state_not_found")
    again = ask(http, "POST", "/v1/states/import?name=again", content=file)
    for ident in (fork["id"], again["id"]):
        assert text(complete(http, REST, state_id=ident, **SEEDED)) == expected
    altered = bytearray(file)
    altered[len(file) // 2] ^= 1
    refusal = refused(http, "POST", "/v1/states/import", content=bytes(altered))
    assert refusal == (400, "invalid_value")


def test_the_state_after_an_answer_is_that_of_the_whole_text(http, tokens):
    ids = tokens.tokenizer.encode(STORY)
    for stop in ([], ["."], [" "]):
        how = {**SEEDED, "stop": stop}
        answer = complete(http, ids, save_state=True, **how)
        state = ask(http, "GET", f"/v1/states/{answer['state_id']}")
        spoken = tokens.tokenizer.encode(text(answer))
        assert state["tokens"] >= len(ids)
        if state["tokens"] == len(ids + spoken):  # else other ids of the same text
            whole = complete(http, ids + spoken + [100], **GREEDY)
            assert text(complete(http, [100], state_id=state["id"], **GREEDY)) == text(whole)


def chat(sdk, messages, **fields):
    extra = {name: fields.pop(name) for name in ("state_id", "save_state") if name in fields}
    return sdk.chat.completions.create(
        model="rwkv-embedded", messages=messages, extra_body=extra, **fields
    )


def test_a_conversation_by_states_is_that_which_is_sent_whole(server, http, tokens):
    sdk = OpenAI(base_url=f"{server.url}/v1", api_key="mine", max_retries=0)
    template, encode = tokens.chat_template, tokens.tokenizer.encode
    continued = ContinuedTemplate(template)

    def export(ident):
        return http.get(f"/v1/states/{ident}/export").content

    new = [{"role": "system", "content": "You tell short stories."}]
    state = ask(http, "POST", "/v1/states", json={"messages": new})
    messages, same, compared = new, True, 0
    for turn in range(6):
        new = [{"role": "user", "content": f"Tell me about day {turn}, please."}]
        how = {"temperature": 1, "seed": turn, "max_tokens": 24}
        whole = chat(sdk, messages + new, **how)
        answer = chat(sdk, new, state_id=state["id"], save_state=True, **how)
        added = encode(continued.render(new))
        assert answer.usage.prompt_tokens == len(added)
        before = encode(template.render(messages, add_generation_prompt=False))
        content = answer.choices[0].message.content
        if same and before + added == encode(template.render(messages + new)):
            assert content == whole.choices[0].message.content
            compared += 1
        messages = [*messages, *new, {"role": "assistant", "content": content}]
        state = {"id": answer.model_extra["state_id"]}
        read = ask(http, "POST", "/v1/states", json={"messages": messages})
        # Unless the answer was generated as other tokens than its text is encoded to.
        same = export(state["id"]) == export(read["id"])
    assert compared >= 3


def test_a_stream_ends_with_the_saved_state(server):
    sdk = OpenAI(base_url=f"{server.url}/v1", api_key="mine", max_retries=0)
    message = {"role": "user", "content": "Who are you?"}
    *_, last = chat(sdk, [message], save_state=True, stream=True, max_tokens=8)
    reply = chat(sdk, [message], state_id=last.model_extra["state_id"], max_tokens=8)
    assert reply.choices[0].finish_reason


def test_other_tenants_share_neither_states_nor_the_cache(server, http):
    state = ask(http, "POST", "/v1/states", json={"prompt": STORY})
    prompt = "A text that only this test has. " * 8
    usage = complete(http, prompt, max_tokens=1)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    with server.client(headers={"authorization": "Bearer theirs"}) as other:
        body = {"prompt": "a", "state_id": state["id"]}
        assert refused(other, "POST", "/v1/completions", json=body) == (404, "state_not_found")
        path = f"/v1/states/{state['id']}"
        assert refused(other, "GET", path) == refused(other, "DELETE", path)
        usage = complete(other, prompt, max_tokens=1)["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    usage = complete(http, prompt, max_tokens=1)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"]


def test_states_outlive_the_server_even_when_it_is_killed(tmp_path):
    answers, idents = [], []
    for number in (signal.SIGKILL, signal.SIGTERM):
        with (
            ServerProcess(RWKV_SERVER_STATES_DIRECTORY=tmp_path) as server,
            server.wait_until_ready().client() as http,
        ):
            if not idents:
                idents.append(ask(http, "POST", "/v1/states", json={"prompt": STORY})["id"])
            answers.append(text(complete(http, REST, state_id=idents[0], **SEEDED)))
            assert ask(http, "GET", "/v1/states")["first_id"] == idents[0]
            server.send_signal(number)
            server.wait()
    assert answers[0] == answers[1]
    path = tmp_path / "named.sqlite"
    path.write_bytes(b"no database " * 1000)
    code, _, err = run_cli("serve", "--port", "0", RWKV_SERVER_STATES_DIRECTORY=str(tmp_path))
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {path}: damaged")
