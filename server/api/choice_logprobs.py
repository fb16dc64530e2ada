"""The log-probabilities of a generation's choices, as its outputs come."""

from collections.abc import Sequence

from server.api.choices import GeneratedChoice
from server.api.content_logprobs import ContentLogprobs
from server.api.logprobs import LogprobEntry, LogprobText, PromptText
from server.api.plan import Plan
from server.assistant.answer import Delta
from server.protocol.outputs import RequestOutput
from server.tokenizer.base import Tokenizer


class ChoiceLogprobs:
    """What each choice that runs needs to tell the text of its tokens."""

    def __init__(self, tokenizer: Tokenizer, plan: Plan) -> None:
        self._tokenizer = tokenizer
        self._plan = plan
        self._texts: dict[int, LogprobText] = {}
        self._prompts: dict[int, PromptText] = {}
        self._contents: dict[int, ContentLogprobs] = {}

    def take_in(
        self, index: int, choice: GeneratedChoice, output: RequestOutput
    ) -> tuple[list[LogprobEntry], list[LogprobEntry]]:
        """Those that go with an output's text, and of the prompt; the choice has their sum."""
        task = self._plan.choices[index]
        if task.params.logprobs < 0:
            return [], []
        choice.logprob_sum += sum(each.logprob for each in output.logprobs)
        if index not in self._texts:
            self._texts[index] = LogprobText(self._tokenizer, task.params)
        of_prompt: list[LogprobEntry] = []
        if output.prompt_logprobs:
            if index not in self._prompts:
                ids = task.prompt_ids[task.params.prompt_logprobs_from :]
                self._prompts[index] = PromptText(ids, self._tokenizer)
            of_prompt = self._prompts[index].push(output.prompt_logprobs)
        return self._texts[index].push(output), of_prompt

    def of_content(
        self,
        index: int,
        output: RequestOutput,
        logprobs: Sequence[LogprobEntry],
        deltas: Sequence[Delta],
    ) -> list[LogprobEntry]:
        """Those that go with what a chat shows of an output's text."""
        form = self._plan.form
        if form is None or self._plan.choices[index].params.logprobs < 0:
            return []
        if index not in self._contents:
            self._contents[index] = ContentLogprobs(self._tokenizer, form)
        is_last = output.finish_reason is not None
        return self._contents[index].read(output.text, logprobs, deltas, is_last=is_last)

    def forget(self, index: int) -> None:
        """A choice has ended."""
        self._texts.pop(index, None)
        self._prompts.pop(index, None)
        self._contents.pop(index, None)
