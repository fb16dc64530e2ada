"""Answers as llama.cpp's server gives them."""

import re
from collections.abc import Callable
from time import perf_counter
from typing import Any

from server.api.choices import News
from server.api.chunks import Chunk
from server.api.llama_server.token_probabilities import probabilities_of
from server.api.plan import Plan
from server.api.schemas.llama_server import NativeAnswer, NativeRequest
from server.api.schemas.usage import Usage
from server.json_pieces import JsonList
from server.sampling.params import SamplingParams
from server.tokenizer.base import Tokenizer
from server.tokenizer.fill_in_middle import MARKERS

NO_LIMIT = 1 << 20
"""Told as the length of the context, which has no limit: clients want a number."""

_INDENT = re.compile(r"\n([ \t]*)(?=\S)")


class _Choice:
    """What has come of one, and why it ended."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.text = ""
        self.tokens: list[int] = []
        self.probabilities = JsonList()
        """As JSON: there may be a million."""
        self.began = 0.0
        self.ended = 0.0
        self.stop_type = ""
        self.stopping_word = ""
        self._checked = 0

    def add(self, news: News) -> None:
        """Take in what came."""
        self.ended = perf_counter()
        self.began = self.began or self.ended
        self.text += news.text
        self.tokens += news.token_ids
        if news.finish_reason is not None:
            word = "" if news.stop_string in MARKERS else news.stop_string
            self.stopping_word = word
            self.stop_type = "word" if word else "eos"
            if news.finish_reason == "length":
                self.stop_type = "limit"

    def end_before(self, indent: int, seconds: float) -> None:
        """Let it end before a line that is indented less, or after so long if it has a line."""
        for line in _INDENT.finditer(self.text, max(0, self._checked - 1)) if indent else ():
            if len(line[1]) < indent:
                self.text = self.text[: line.end()]
                self.stop_type, self.stopping_word = "limit", ""
                return
        # The last line may not have its first word yet.
        self._checked = self.text.rfind("\n") + 1
        if not self.stop_type and 0 < seconds < self.ended - self.began and "\n" in self.text:
            self.stop_type = "limit"


class NativeAnswers:
    """Follows the choices of one generation: the Chunks of a stream, or the results."""

    def __init__(
        self,
        body: NativeRequest,
        model: str,
        plan: Plan,
        tokenizer: Tokenizer,
        usage: Callable[[], Usage],
    ) -> None:
        """`usage` gives the tokens so far."""
        self._body = body
        self._model = model
        self._plan = plan
        self._tokenizer = tokenizer
        self._usage = usage
        self._choices = [_Choice(index) for index in range(len(plan.choices))]
        self._began = perf_counter()

    @property
    def ended(self) -> bool:
        """Whether all choices have, for whatever reason."""
        return all(choice.stop_type for choice in self._choices)

    def add(self, news: News) -> None:
        """Take in what came of a choice, unless it has ended."""
        choice = self._choices[news.index]
        if choice.stop_type:
            return
        choice.add(news)
        if self._body.probabilities:
            choice.probabilities.extend(probabilities_of(news.logprobs, self._tokenizer))
        choice.end_before(self._body.n_indent, self._body.t_max_predict_ms / 1000)

    def results(self) -> list[Chunk]:
        """Of all choices, at the end."""
        return [self._chosen(self._result(choice)) for choice in self._choices]

    def opening(self) -> list[Chunk]:
        """Nothing: the first event has text."""
        return []

    def news(self, news: News) -> list[Chunk]:
        """An event with new text; with the finish reason one with all else."""
        choice = self._choices[news.index]
        choice.probabilities = JsonList()
        self.add(news)
        told = self._usage()
        events: list[Chunk] = []
        if news.text:
            event: Chunk = {
                "index": news.index,
                "content": news.text,
                "tokens": news.token_ids,
                "stop": False,
                "id_slot": -1,
                "tokens_predicted": len(choice.tokens),
                "tokens_evaluated": self._evaluated(choice),
            }
            if self._body.probabilities:
                event["completion_probabilities"] = choice.probabilities
            events.append(event | self._timings_of_event(choice, told))
        if choice.stop_type:
            events.append(self._result(choice) | {"content": "", "tokens": []})
        return events

    def closing(self, usage: Usage, state_id: str = "") -> list[Chunk]:
        """Nothing: each choice has its last event."""
        del usage, state_id
        return []

    def _timings_of_event(self, choice: _Choice, usage: Usage) -> Chunk:
        wanted = (self._body.model_extra or {}).get("timings_per_token")
        return {"timings": self._timings(choice, usage)} if wanted else {}

    def _result(self, choice: _Choice) -> Chunk:
        usage = self._usage()
        answer = NativeAnswer(
            index=choice.index,
            content=choice.text,
            tokens=choice.tokens if self._body.return_tokens else [],
            model=self._model,
            tokens_predicted=len(choice.tokens),
            tokens_evaluated=self._evaluated(choice),
            generation_settings=self._settings(self._plan.choices[choice.index].params),
            has_new_line="\n" in choice.text,
            stop_type=choice.stop_type,
            stopping_word=choice.stopping_word,
            tokens_cached=usage.prompt_tokens_details.cached_tokens,
            timings=self._timings(choice, usage),
        ).model_dump()
        if self._body.probabilities and not self._body.stream:
            answer["completion_probabilities"] = choice.probabilities
        return answer

    def _evaluated(self, choice: _Choice) -> int:
        return len(self._plan.choices[choice.index].prompt_ids)

    def _settings(self, params: SamplingParams) -> Chunk:
        return settings_of(params) | {
            "stream": self._body.stream,
            "n_probs": self._body.probabilities,
        }

    def _timings(self, choice: _Choice, usage: Usage) -> dict[str, int | float]:
        """Of reading the prompts of the request, and of generating a choice."""
        cached = usage.prompt_tokens_details.cached_tokens
        read, written = usage.prompt_tokens - cached, len(choice.tokens)
        reading = ((choice.began or perf_counter()) - self._began) * 1000
        writing = (choice.ended - choice.began) * 1000
        return {
            "cache_n": cached,
            "prompt_n": read,
            "prompt_ms": reading,
            "prompt_per_token_ms": reading / max(1, read),
            "prompt_per_second": read / max(reading, 1e-3) * 1000,
            "predicted_n": written,
            "predicted_ms": writing,
            "predicted_per_token_ms": writing / max(1, written),
            "predicted_per_second": written / max(writing, 1e-3) * 1000,
        }

    def _chosen(self, result: Chunk) -> Chunk:
        """Of a result what the request wants; a field of a field under the path to it."""
        if self._body.response_fields is None:
            return result
        found = {}
        for path in self._body.response_fields:
            value: Any = result
            for name in path.split("/"):
                value = value.get(name) if isinstance(value, dict) else None
            if value is not None:
                found[path] = value
        return found


def settings_of(params: SamplingParams) -> Chunk:
    """How tokens are chosen, in their words."""
    return {
        "n_ctx": NO_LIMIT,
        "n_predict": params.max_tokens,
        "seed": params.seed,
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "min_p": params.min_p,
        "typical_p": params.typical_p,
        "repeat_penalty": params.repetition_penalty,
        "repeat_last_n": params.penalty_last_n,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "mirostat": params.mirostat,
        "stop": list(params.stop),
        "ignore_eos": params.ignore_eos,
    }
