"""What ends an answer is what the template writes after one: a token, a mark, or the next turn."""

import json

import pytest

from server.checkpoints.locate import locate
from server.protocol.messages import ModelSpec
from server.registry.served_model import open_model
from server.tokenizer.bounded_template import BoundedTemplate, TemplateFailedError
from server.tokenizer.chat_template import RWKV_STOP, ChatTemplate
from server.tokenizer.turn_ends import TurnEnds, turn_ends_of
from tests.fake_text import FakeTokenizer
from tests.model.random_models import random_tensors, write_model
from tests.tokenizer.test_prompt_parts import CHATML, FLA, HARD

LOOP = "{% for m in messages %}"
ROLES = LOOP + "{% if m.role == 'user' %}USER{% else %}{% if m.role == 'assistant' %}ASSISTANT"
ROLES += "{% endif %}{% endif %}{% endfor %}"


def turns(user, assistant):
    """A template whose turns are written as these, with a place for what is said."""
    user, assistant = (
        "{{ " + " + m.content + ".join(map(json.dumps, text.split("…"))) + " }}"
        for text in (user, assistant)
    )
    return ROLES.replace("USER", user).replace("ASSISTANT", assistant)


class Tokenizer(FakeTokenizer):
    """With special tokens of these names, from id 300 on."""

    def __init__(self, *names, takes=None):
        self.special_tokens = {name: number for number, name in enumerate(names, 300)}
        self.takes_whitespace = {300: takes} if takes else {}


# User's turn, assistant's turn, and what ends the latter.
FORMS = {
    "ChatML": ("<|user|>\n…<|im_end|>\n", "<|assistant|>\n…<|im_end|>\n", "<|im_end|>"),
    "Llama 3": ("<|user|>\n\n…<|eot_id|>", "<|assistant|>\n\n…<|eot_id|>", "<|eot_id|>"),
    "Gemma": ("<start>user\n…<end_of_turn>\n", "<start>model\n…<end_of_turn>\n", "<end_of_turn>"),
    "Mistral": ("[INST] … [/INST]", " …</s>", "</s>"),
    "Zephyr": ("<|user|>\n…</s>\n", "<|assistant|>\n…</s>\n", "</s>"),
    "only beginnings": ("<|user|>…", "<|assistant|>…", "<|user|>"),
    "beginnings of lines": ("<|user|>\n…\n", "<|assistant|>\n…\n", "<|user|>"),
    "DeepSeek": ("<｜User｜>…", "<｜Assistant｜>…<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
}


@pytest.mark.parametrize("takes", [None, (True, False), (True, True)])
@pytest.mark.parametrize("name", FORMS)
def test_a_special_token_or_the_same_as_text(name, takes):
    user, assistant, mark = FORMS[name]
    template = ChatTemplate(turns(user, assistant))
    found = turn_ends_of(template, Tokenizer(mark, "<other>", takes=takes))
    assert found == TurnEnds((300,), ())
    assert turn_ends_of(template, Tokenizer("<other>")) == TurnEnds((), (mark,))


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("\n\n### Instruction:\n", "\n\n### Instruction:"),
        ("\nHuman: ", "\nHuman:"),
        ("\n\n用户：", "\n\n用户："),
        ("\n--\nQ: ", "\n--\nQ:"),
        ("\n- ", ""),
        ("\n\n### ", ""),
        ("\n\n", ""),
        (" ", ""),
        ("", ""),
        (" and ", ""),
        ("\n" + "x" * 200, ""),
    ],
)
def test_the_line_that_begins_the_next_turn(turn, expected):
    template = ChatTemplate(turns(f"{turn}…", "\n\nA: …"))
    assert turn_ends_of(template, Tokenizer()) == TurnEnds((), (expected,) if expected else ())


def test_turns_of_world_are_known_already():
    for source in (None, FLA):
        assert turn_ends_of(ChatTemplate(source), Tokenizer("<x>")) == TurnEnds((), RWKV_STOP)


def test_of_turns_of_world_with_a_token_both_count():
    source = FLA.replace("'] + '\n\n'", "'] + eos_token + '\n\n'")
    template = ChatTemplate(source, eos_token="<e>")
    assert turn_ends_of(template, Tokenizer("<x>", "<e>")) == TurnEnds((301,), RWKV_STOP)


def test_what_a_template_makes_of_what_is_said():
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|user|>")
    template = ChatTemplate(CHATML)
    assert turn_ends_of(template, Tokenizer(*names)).ids == (302,)
    # It repeats the beginning of what is said, which is no end, before its token.
    hard = ChatTemplate(HARD, eos_token="<|endoftext|>")
    assert turn_ends_of(hard, Tokenizer(*names)).ids == ()
    loud = turns("<u>…", "<a>…<e>").replace("m.content", "(m.content | upper)")
    assert turn_ends_of(ChatTemplate(loud), Tokenizer("<e>")) == TurnEnds()


@pytest.mark.parametrize(
    "condition",
    [
        "messages[0].role != 'system'",
        "messages[-1].role != 'assistant'",
        "messages | length > 2 and messages[0].role != 'system'",
    ],
)
def test_templates_that_want_other_conversations(condition):
    source = "{% if " + condition + " %}{{ raise_exception('no') }}{% endif %}" + CHATML
    assert turn_ends_of(ChatTemplate(source), Tokenizer("<|im_end|>")).ids == (300,)
    never = "{{ raise_exception('no') }}"
    assert turn_ends_of(ChatTemplate(never), Tokenizer("<|im_end|>")) == TurnEnds()


def test_one_that_hangs_is_no_model(monkeypatch):
    monkeypatch.setattr("server.tokenizer.bounded_template.WALL_SECONDS", 4)
    slow = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    source = "{% if add_generation_prompt %}x{% else %}" + slow + "{% endif %}"
    template = BoundedTemplate(source)
    with pytest.raises(TemplateFailedError):
        turn_ends_of(template, Tokenizer())


def test_a_folder_of_world_with_turn_tokens(tmp_path):
    write_model(tmp_path / "model.safetensors", random_tensors(1, 16, 65536, 16))
    ids = {"65530": "<|im_start|>", "65531": "<|im_end|>"}
    settings = {
        "chat_template": CHATML,
        "eos_token": "<|rwkv_tokenizer_end_of_text|>",
        "added_tokens_decoder": {k: {"content": v, "special": True} for k, v in ids.items()},
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert locate(str(tmp_path)).special_tokens == {v: int(k) for k, v in ids.items()}
    model = open_model(ModelSpec(id="x", path=str(tmp_path)))
    assert model.turn_ends == TurnEnds((65531,), ())
