"""Log-probabilities over HTTP: the SDK, evaluation harnesses' requests, and workers that die."""

import json
import math
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest

from server.checkpoints.locate import choose_tokenizer, locate
from server.model.loading import choose_dtype
from server.model.model import pack_batch
from server.model.state import StatePool
from server.tokenizer.load import load_tokenizer
from tests import naive
from tests.e2e.server_process import ServerProcess
from tests.model.random_models import load_model

MODEL = "rwkv-embedded"
STORY = "Once upon a time there was a little dog. It lived by the sea – 海 – and liked to"
ENDINGS = [" run.", " swim every day.", " eat the moon", " 食べる", "X"]


class Scorer:
    """The embedded model, computed here, without the engine and the kernel of logprobs."""

    def __init__(self):
        files = locate("", "")
        config = load_model(files.checkpoint).config
        self.model = load_model(files.checkpoint, choose_dtype("auto", config))
        spec = choose_tokenizer(files, config.vocab_size)
        self.tokenizer = load_tokenizer(spec, config.vocab_size, files.eos_token)

    def logprobs(self, ids):
        """[T, V] after each token."""
        size, state = self.model.config.vocab_size, StatePool(self.model.config, 1).state
        rows = [
            self.model.forward(pack_batch([([i], 0, True)]), state)[0, :size].copy() for i in ids
        ]
        return naive.log_softmax(np.array(rows))

    def score(self, context, answer):
        """(log-probability of the answer, whether it is what greedy decoding would say)."""
        ids = self.tokenizer.encode(context + answer)
        begin = len(self.tokenizer.encode(context))
        rows = self.logprobs(ids)[begin - 1 : -1]
        of_answer = rows[np.arange(len(rows)), ids[begin:]]
        return of_answer.sum(), bool((rows.argmax(1) == ids[begin:]).all())


@pytest.fixture(scope="module")
def scorer():
    return Scorer()


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


def harness_request(prompts, **changes):
    """What lm-evaluation-harness sends to score them."""
    body = {"model": MODEL, "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1}
    return body | {"seed": 1234, "echo": True} | changes


def harness_scores(answer, context_lengths):
    """What lm-evaluation-harness makes of the answer."""
    found = []
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    for choice, length in zip(choices, context_lengths, strict=True):
        logprobs = choice["logprobs"]["token_logprobs"][length:-1]
        tops = choice["logprobs"]["top_logprobs"][length:-1]
        greedy = all(own == max(top.values()) for own, top in zip(logprobs, tops, strict=True))
        found.append((sum(logprobs), greedy))
    return found


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_harnesses_get_the_right_scores(server, scorer, max_tokens):
    encode = scorer.tokenizer.encode
    prompts = [encode(STORY + ending) for ending in ENDINGS]
    lengths = [len(encode(STORY))] * len(ENDINGS)
    body = harness_request(prompts, max_tokens=max_tokens)
    with server.client() as http:
        answer = http.post("/v1/completions", json=body).json()
        alone = [
            http.post("/v1/completions", json=body | {"prompt": [prompt]}).json()["choices"][0]
            for prompt in prompts
        ]
    for choice, prompt, single in zip(answer["choices"], prompts, alone, strict=True):
        assert choice == single | {"index": choice["index"]}
        for items in choice["logprobs"].values():
            assert len(items) == len(prompt) + max_tokens
        assert choice["logprobs"]["token_logprobs"][0] is None
    if max_tokens:
        expected = [scorer.score(STORY, ending) for ending in ENDINGS]
        for (sum_, greedy), found in zip(expected, harness_scores(answer, lengths), strict=True):
            assert found == (pytest.approx(sum_, abs=1e-4), greedy)


def test_the_sdk_reads_the_logprobs_of_chat(client):
    question = [{"role": "user", "content": "Who are you?"}]
    how = {"model": MODEL, "messages": question, "max_tokens": 12, "logprobs": True, "seed": 2}
    (choice,) = client.chat.completions.create(**how, top_logprobs=5).choices
    for entry in choice.logprobs.content:
        best = [each.logprob for each in entry.top_logprobs]
        assert len(best) == 5
        assert best == sorted(best, reverse=True)
        assert entry.logprob <= best[0]
        assert 0.05 < sum(map(math.exp, best)) <= 1 + 1e-6
        assert bytes(entry.bytes).decode() == entry.token
    said = "".join(entry.token for entry in choice.logprobs.content)
    assert said.lstrip().startswith(choice.message.content)
    stream = client.chat.completions.create(**how, top_logprobs=5, stream=True)
    entries = [
        entry
        for chunk in stream
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content
    ]
    assert entries == choice.logprobs.content
    assert client.chat.completions.create(**how).choices[0].logprobs.content[0].top_logprobs == []


def test_the_sdk_reads_the_logprobs_of_completions(client):
    how = {"model": MODEL, "prompt": STORY, "max_tokens": 12, "logprobs": 3, "seed": 3}
    (choice,) = client.completions.create(**how, echo=True).choices
    lists = choice.logprobs
    assert choice.text.startswith(STORY)
    assert lists.token_logprobs[0] is None
    for place, (token, offset) in enumerate(zip(lists.tokens, lists.text_offset, strict=True)):
        if not token.startswith(("bytes:", "<|")):
            assert choice.text[offset:].startswith(token)
        if place:
            assert lists.top_logprobs[place][token] == lists.token_logprobs[place]
            assert len(lists.top_logprobs[place]) in (3, 4)
    stream = client.completions.create(**how, echo=True, stream=True)
    pieces = [chunk.choices[0] for chunk in stream]
    assert "".join(piece.text for piece in pieces) == choice.text
    for name in ("tokens", "text_offset", "token_logprobs", "top_logprobs"):
        items = [item for piece in pieces for item in getattr(piece.logprobs, name)]
        assert items == getattr(lists, name)
    best, *_ = client.completions.create(**how, n=1, best_of=4).choices
    every = client.completions.create(**how, n=4).choices
    means = {c.text: np.mean(c.logprobs.token_logprobs) for c in every}
    assert best.text == max(means, key=means.get)


@pytest.mark.slow
def test_logprobs_survive_workers_that_die_and_come_once():
    scoring = harness_request([STORY * 40 + ending for ending in ENDINGS], max_tokens=3)
    telling = {"prompt": STORY, "echo": True, "logprobs": 2, "max_tokens": 1500, "seed": 1}
    telling |= {"stream": True, "ignore_eos": True}
    with ServerProcess("--workers", "1") as server, server.wait_until_ready().client() as http:

        def tell(disturb=lambda _: None):
            lists, count = {}, 0
            with http.stream("POST", "/v1/completions", json=telling) as reply:
                for line in reply.iter_lines():
                    if not line.startswith("data: {"):
                        continue
                    for name, items in json.loads(line[6:])["choices"][0]["logprobs"].items():
                        lists.setdefault(name, []).extend(items)
                    count += 1
                    disturb(count)
            return lists

        expected = http.post("/v1/completions", json=scoring).json()["choices"], tell()
        assert len(expected[1]["tokens"]) > 1500

        def kill(count):
            if count in (1, 300):
                since = len(server.lines)
                server.workers()[0].send_signal(signal.SIGKILL)
                server.wait_for_line("is back", since)

        with ThreadPoolExecutor() as pool:
            scored = pool.submit(http.post, "/v1/completions", json=scoring | {"no_cache": True})
            told = tell(kill)
            assert (scored.result().json()["choices"], told) == expected


@pytest.mark.slow
def test_lm_evaluation_harness_finds_the_scores(server, scorer, tmp_path):
    evaluator = pytest.importorskip("lm_eval.evaluator", reason="pip install lm-eval[api]")
    models = pytest.importorskip("lm_eval.models.openai_completions", reason="lm-eval[api]")
    rows = [
        {"question": STORY, "choices": [ending.strip() for ending in ENDINGS], "answer": 1},
        {"question": "The cat sat on", "choices": ["the mat.", "its tail", "é"], "answer": 0},
    ]
    data = tmp_path / "rows.json"
    data.write_text("\n".join(map(json.dumps, rows)))
    task = {
        "task": "endings",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path)},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_target": "answer",
        "doc_to_choice": "choices",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }

    class Tokens:
        """The model's own ids, where the harness would load a tokenizer by its name."""

        eot_token, n_vocab = scorer.tokenizer.eos_id, scorer.tokenizer.vocab_size

        def encode(self, text):
            if isinstance(text, str):
                return scorer.tokenizer.encode(text)
            return [scorer.tokenizer.encode(each) for each in text]

        def decode(self, ids):
            return scorer.tokenizer.decode(ids)

    model = models.LocalCompletionsAPI(
        base_url=f"{server.url}/v1/completions", model=MODEL, tokenizer_backend=None, batch_size=4
    )
    model.tokenizer_backend, model.tokenizer, model.tokenized_requests = "tiktoken", Tokens(), True
    results = evaluator.simple_evaluate(model, tasks=[task], bootstrap_iters=0)
    found = {
        tuple(arguments): response[0]
        for sample in results["samples"]["endings"]
        for arguments, response in zip(sample["arguments"], sample["resps"], strict=True)
    }
    assert len(found) == len(ENDINGS) + 3
    for (context, answer), score in found.items():
        total, greedy = scorer.score(context, answer)
        assert score == (pytest.approx(total, abs=1e-4), greedy)
