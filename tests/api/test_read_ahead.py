"""The next turn of a conversation: only what is new is read, and the answer is that of a cold run.

A real engine with random weights computes in the event loop of the test. What it says is bytes
without sense, cut into tokens as no encoder would: the ids of an answer that comes back differ.
"""

import asyncio
import itertools
from dataclasses import replace

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.access.keys import Keys
from server.api.app import create_app
from server.api.batches import open_batches
from server.api.choices import GeneratedChoice
from server.api.conversation import Conversation
from server.api.conversations import open_conversations
from server.api.read_ahead import ENOUGH, MOST_TOKENS, unread
from server.api.schemas.chat import Message
from server.api.states import open_states
from server.config import Settings
from server.engine.engine import Engine
from server.engine.grammar_compiler import GrammarCompiler
from server.engine.grammar_rows import GrammarRows
from server.engine.model_runner import ModelRunner
from server.engine.output_processor import OutputProcessor
from server.engine.prefix_cache import PrefixCache
from server.engine.scheduler import Scheduler
from server.model.initial_state import empty_state
from server.pool.client import WorkerLink
from server.protocol.messages import Generate, ModelSpec, Ready
from server.protocol.task import Task
from server.registry.manager import ModelManager
from server.sampling.params import SamplingParams
from server.sampling.sampler import Sampler
from server.state_cache.encoding import SnapshotCodec
from server.state_cache.state_cache import StateCache
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.huggingface import HuggingFaceTokenizer
from tests.api.harness import CHAT, MODEL
from tests.fakes import PATIENCE, fake_model
from tests.model.random_models import load_model, random_tensors, write_model
from tests.tokenizer.files import byte_level

TURNS = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEMPLATES = {
    "rwkv": ChatTemplate(),
    "with BOS": ChatTemplate("{{ bos_token }}" + TURNS, bos_token="<s>"),
    # What comes before a "t" is as good as a thought: bytes without sense have no tags.
    "drops thoughts": ChatTemplate(
        "{% for m in messages %}{% set text = m['content'] %}"
        "{% if m['role'] == 'assistant' and not loop.last %}"
        "{% set text = (text.split('</think>') | last).split('t') | last | trim %}{% endif %}"
        "[{{ m['role'] }}] {{ text }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    ),
    "with a count": ChatTemplate("{{ messages | length }} turns\n" + TURNS),
}
SALTS = itertools.count()
PARAMS = SamplingParams(max_tokens=100, seed=0)
WORDS = st.text("the cat sat 中\n.", min_size=1, max_size=40)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    byte_level(path)
    return HuggingFaceTokenizer(path)


@pytest.fixture(scope="module")
def engine(tmp_path_factory, tokenizer):
    tensors = random_tensors(2, 48, tokenizer.vocab_size, 16)
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    model = load_model(write_model(path, tensors), max_tokens=32)
    prefixes = PrefixCache(StateCache(256 << 20))
    sampler = Sampler(tokenizer.vocab_size, model.team)
    grammars = GrammarRows(GrammarCompiler(tokenizer, tokenizer.vocab_size))
    return Engine(
        Scheduler(4, 16, prefixes),
        ModelRunner(
            *(model, sampler, {"": empty_state(model.config)}, prefixes, tokenizer, grammars)
        ),
        OutputProcessor(tokenizer),
        prefixes,
        SnapshotCodec("random", model.config.state_shapes, tokenizer.vocab_size),
    )


class EngineWorkers:
    """The workers of a model: one engine, in the event loop of the test."""

    def __init__(self, client, engine):
        self.client, self.engine = client, engine
        self.link = WorkerLink("engine", self.receive)

    async def start(self):
        self.client.add(self.link)
        self.client.open()
        return [Ready("float32", 1, 0.0, 0.0)]

    async def stop(self):
        self.client.close("stopped")

    def receive(self, message):
        if isinstance(message, Generate):
            self.engine.add(message.request_id, message.task)
            asyncio.get_running_loop().call_soon(self.step)
        else:
            self.engine.abort(message.request_id)

    def step(self):
        if self.engine.has_work:
            self.client.deliver(self.link, self.engine.step())
            asyncio.get_running_loop().call_soon(self.step)


class Talk:
    """A conversation over HTTP without a network."""

    def __init__(self, http, salt):
        self.http = http
        self.salt = salt
        self.messages = []

    async def answer(self, seed, **fields):
        """The next message, and the tokens of the prompt that were computed for it."""
        body = {"messages": self.messages, "seed": seed, "max_tokens": 40, "top_p": 1}
        body |= {"cache_salt": self.salt, "temperature": 1} | fields
        response = await self.http.post(CHAT, json=body)
        assert response.status_code == 200, response.text
        found = response.json()
        usage = found["usage"]
        computed = usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
        return found["choices"][0]["message"]["content"], computed

    async def until_read(self):
        while (await self.http.get("/health")).json()["reading_ahead"]:
            pass


async def talking(engine, tokenizer, template, talk):
    """Let `talk` use a server of this engine."""

    def open_model(spec: ModelSpec):
        return replace(fake_model(spec), tokenizer=tokenizer, chat_template=template)

    off = {"limit_bytes": 0}
    sections = {"model": {"name": MODEL}, "states": off, "responses": off, "batches": off}
    sections = Settings.model_validate(sections)
    manager = ModelManager(
        sections, lambda _, __, client: EngineWorkers(client, engine), open_model
    )
    manager.open()
    await manager.start()
    stores = (
        open_states(sections.states),
        open_conversations(sections.responses),
        open_batches(sections),
    )
    app = create_app(sections, manager, *stores, Keys(sections.http))
    transport = httpx.ASGITransport(app)
    async with asyncio.timeout(10 * PATIENCE):
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await talk(http)
        await manager.stop()
    assert not engine.has_work


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    turns=st.lists(st.tuples(WORDS, st.integers(0, 3)), min_size=2, max_size=5),
    number=st.integers(0, 2**32),
)
def test_a_turn_costs_its_own_tokens_and_changes_no_byte(engine, tokenizer, name, turns, number):
    """Some turns edit an earlier message instead: these may read more."""
    template = TEMPLATES[name]

    async def talk(http):
        talk = Talk(http, f"salt {next(SALTS)}")  # a replay begins without a cache, too
        goes_on = False
        for seed, (words, edit) in enumerate(turns):
            if edit == 3 and goes_on:
                del talk.messages[2 * (seed % (len(talk.messages) // 2)) :]
                goes_on = False
            user = {"role": "user", "content": words}
            talk.messages.append(user)
            answer, computed = await talk.answer(seed + number)
            if goes_on:
                own = tokenizer.encode("\n\n" + template.render([user]))
                assert computed <= len(own) + 2
            await talk.until_read()
            assert (await talk.answer(seed + number, no_cache=True))[0] == answer
            talk.messages.append({"role": "assistant", "content": answer})
            goes_on = True

    asyncio.run(talking(engine, tokenizer, template, talk))


def test_the_next_turn_may_come_before_the_answer_is_read(engine, tokenizer):
    async def talk(http):
        talk = Talk(http, "at once")
        for seed in range(6):
            talk.messages.append({"role": "user", "content": f"and turn {seed}? " * 9})
            answer, _ = await talk.answer(seed)
            assert (await talk.answer(seed, no_cache=True))[0] == answer
            talk.messages.append({"role": "assistant", "content": answer})

    asyncio.run(talking(engine, tokenizer, TEMPLATES["with BOS"], talk))


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    said=st.lists(WORDS, min_size=1, max_size=3),
    thought=WORDS | st.none(),
    answered=st.text("the cat 中 .\n", max_size=30),
    seed=st.integers(0, 2**32),
    following=WORDS.filter(lambda words: words.strip()),
)
def test_what_is_read_is_how_any_next_turn_begins(
    tokenizer, name, said, thought, answered, seed, following
):
    template = TEMPLATES[name]
    if thought is not None:
        answered = f"<think>{thought}</think>\n{answered}"
    messages = [Message(role="user", content=words) for words in said]
    # Bytes one by one: never how an encoder would cut them.
    generated = [tokenizer.encode(chr(byte))[0] for byte in answered.encode() if byte < 128]
    rng = np.random.default_rng(seed)
    generated += [int(token) for token in rng.integers(1, 256, ENOUGH + 1)]
    text = tokenizer.decode(generated)
    dicts = [message.as_dict() for message in messages]
    prompt = tokenizer.encode(template.render(dicts))
    task = Task(prompt, PARAMS)
    read = unread(Conversation(template, dicts), tokenizer, task, answered_with(text, generated))
    dicts = [*dicts, {"role": "assistant", "content": text.lstrip()}]
    dicts.append({"role": "user", "content": following})
    ids = tokenizer.encode(template.render(dicts))
    own = tokenizer.encode("\n\n" + template.render(dicts[-1:]))
    if read:
        assert ids[: len(read)] == read
        assert len(ids) - len(read) <= len(own) + 2


def answered_with(text, generated):
    """A choice that has finished."""
    choice = GeneratedChoice([text], generated, "stop")
    choice.reader.read(text, is_last=True)
    return choice


def test_what_the_next_turn_knows_is_not_read(tokenizer):
    template = TEMPLATES["rwkv"]
    messages = [Message(role="user", content="the cat")]
    prompt = tokenizer.encode(template.render([messages[0].as_dict()]))
    task = Task(prompt, PARAMS)

    def read(text, generated):
        conversation = Conversation(template, [message.as_dict() for message in messages])
        return unread(conversation, tokenizer, task, answered_with(text, generated))

    whole = tokenizer.encode(" the mat\n\nUser:")
    assert read(" the mat", whole) == []  # as it would be encoded, with a stop string after it
    assert read(" the mat", [*tokenizer.encode(" the mat"), 0]) == []
    cut = [tokenizer.encode(letter)[0] for letter in " the mat"]
    whole = tokenizer.encode("User: the cat\n\nAssistant: the mat\n\nUser: x")
    assert tokenizer.decode(read(" the mat", cut)) == "User: the cat\n\nAssistant: the mat"
    assert whole[: len(read(" the mat", cut))] == read(" the mat", cut)
    assert tokenizer.decode(read("", [0])) == "User: the cat\n\n"  # no answer, no turn
    long = "the mat sat on a cat. " * MOST_TOKENS
    assert read(long, tokenizer.encode("x" + long)) == []
