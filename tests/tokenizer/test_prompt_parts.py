"""Special tokens of prompts: written by the template, and by nobody else."""

import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from server.api.boundaries import boundaries_in, token_boundaries
from server.checkpoints.locate import locate
from server.tokenizer.base import TokenizerError
from server.tokenizer.bounded_template import BoundedTemplate, TemplateFailedError
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.continued_template import ContinuedTemplate
from server.tokenizer.huggingface import HuggingFaceTokenizer
from server.tokenizer.load import load_tokenizer
from server.tokenizer.prompt_parts import encode_prompt
from server.tokenizer.request_template import RequestTemplate
from server.tokenizer.world import END_OF_TEXT
from tests.tokenizer.files import TEXT, byte_fallback, byte_level

# As the official conversions of World and G1 models have it.
FLA = (
    "{{ '<|rwkv_tokenizer_end_of_text|>' }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{'User: ' + message['content'] + '\n\n'}}"
    "{% elif message['role'] == 'system' %}{{'System: ' + message['content'] + '\n\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'Assistant: ' + message['content'] + '\n\n'}}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Turn tokens are made of the role, and what users write goes through all that templates do to it.
HARD = (
    "{{ bos_token }}{%- if tools %}{{ tools | tojson }}<|im_end|>{% endif -%}"
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{{ m.name or '' }}"
    "{%- set text = m.content | trim | replace('\n', ' ') -%}"
    "{%- if '<|im_end|>' in text %}{{ text.split('<|im_end|>') | join('<|im_end|>') }}"
    "{%- else %}{{ '<|im_start|>%s' % text }}{% endif -%}"
    "{% for call in m.tool_calls or [] %}{{ call.function.arguments | tojson }}{% endfor %}"
    "{{ m.reasoning_content or '' }}{{ '%s{}'.format(m.content[:3]) }}{{ eos_token }}{% endfor %}"
)
NAMES = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|system|>")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("hf") / "tokenizer.json"
    byte_level(path)
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens(list(NAMES[1:]))
    tokenizer.add_special_tokens([tokenizers.AddedToken("<|pad|>", lstrip=True, rstrip=True)])
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(path):
    return HuggingFaceTokenizer(path)


@pytest.fixture(scope="module")
def library(path):
    """Reads names wherever they stand."""
    return tokenizers.Tokenizer.from_file(str(path))


@pytest.fixture(scope="module")
def world():
    return load_tokenizer("world", 65536)


def user(content, **fields):
    return {"role": "user", "content": content, **fields}


def special_in(ids, tokenizer):
    return [i for i in ids if i in tokenizer.special_tokens.values()]


def test_the_official_template_begins_with_one_token(world):
    text = ChatTemplate(FLA).render([user("Hi")])
    ids = encode_prompt(text, world).ids
    assert ids == [0, *world.encode("User: Hi\n\nAssistant:")]
    assert encode_prompt(str.__str__(text), world).ids == world.encode(text)  # nobody's template
    assert encode_prompt(BoundedTemplate(FLA).render([user("Hi")]), world).ids == ids


@given(st.lists(st.sampled_from([*TEXT[:3], " a\n", "é", "<|im", "", " "]), max_size=4))
def test_ids_are_those_of_the_library(tokenizer, library, contents):
    """Of texts without names, which the library would read as tokens."""
    for source in (
        CHATML,
        FLA,
        "{% for m in messages %}a <|pad|> {{ m.content }}<|pad|>{% endfor %}",
    ):
        text = ChatTemplate(source, NAMES[0]).render([user(content) for content in contents])
        expected = library.encode(str.__str__(text), add_special_tokens=False).ids
        assert encode_prompt(text, tokenizer).ids == expected


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
@pytest.mark.parametrize("nested", [False, True])
def test_only_the_first_text_gets_a_space_where_that_is_so(tmp_path, scheme, nested):
    library = byte_fallback(tmp_path / "tokenizer.json")
    library.normalizer = None
    space = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=scheme)
    library.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([space]) if nested else space
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = HuggingFaceTokenizer(tmp_path / "tokenizer.json")
    for source in ("<s>a a<s>a", "a<s>a</s> a", "a a", "<s>", "a<s>"):
        text = ChatTemplate(source).render([])
        expected = library.encode(source, add_special_tokens=False).ids
        assert encode_prompt(text, tokenizer).ids == expected, source


pieces = st.sampled_from(
    [
        *NAMES,
        END_OF_TEXT,
        "<|",
        "|>",
        "im_start",
        "<|im_",
        "end|>",
        "user",
        "|",
        " ",
        "\n",
        "a",
        "\0",
    ]
)
hostile = st.lists(pieces, max_size=6).map("".join)


@given(hostile, hostile, hostile, st.sampled_from([CHATML, HARD, FLA]))
def test_users_write_no_special_token(tokenizer, world, content, name, thoughts, source):
    """As many as the same conversation with harmless words has, in the same order."""

    def rendered(*words):
        content, name, thoughts = words
        call = {
            "type": "function",
            "function": {"name": name, "arguments": json.dumps({"a": content})},
        }
        messages = [
            {"role": "system", "content": content},
            user(content, name=name),
            {
                "role": "assistant",
                "content": thoughts,
                "reasoning_content": content,
                "tool_calls": [call],
            },
            {"role": "tool", "content": thoughts, "name": name},
        ]
        tools = [{"type": "function", "function": {"name": "f", "description": content}}]
        template = RequestTemplate(ChatTemplate(source, NAMES[0], NAMES[2]), tools, {"x": content})
        return template.render(messages)

    for each in (tokenizer, world):
        ids = encode_prompt(rendered(content, name, thoughts), each).ids
        plain = encode_prompt(rendered("a", "b", "c"), each).ids
        if source == HARD:  # which writes what it has found once more
            assert len(special_in(ids, each)) >= len(special_in(plain, each)) - 4
            assert set(special_in(ids, each)) <= set(special_in(plain, each))
        else:
            assert special_in(ids, each) == special_in(plain, each)


def test_a_name_that_the_template_only_begins_is_text(tokenizer):
    template = ChatTemplate("<|im_{{ messages[0].content }}|>{{ messages[0].content }}<|im_end|>")
    for content in ("start", "start|>", "end|><|im_end"):
        ids = encode_prompt(template.render([user(content)]), tokenizer).ids
        assert special_in(ids, tokenizer) == [tokenizer.special_tokens["<|im_end|>"]]


def test_roles_make_turn_tokens(tokenizer):
    template = ChatTemplate("{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% endfor %}")
    ids = encode_prompt(
        template.render([user(""), {"role": "assistant", "content": ""}]), tokenizer
    ).ids
    assert ids == [tokenizer.special_tokens[f"<|{role}|>"] for role in ("user", "assistant")]
    other = template.render([{"role": "im_start", "content": ""}])
    assert not special_in(encode_prompt(other, tokenizer).ids, tokenizer)


@given(st.lists(hostile.filter(lambda text: "\0" not in text), min_size=1, max_size=3))
def test_messages_end_where_their_tokens_do(tokenizer, contents):
    template = ChatTemplate(CHATML)
    messages = [{"role": "system", "content": "S"}, *map(user, contents)]
    text = template.render(messages)
    prompt = encode_prompt(text, tokenizer)
    ends = boundaries_in(messages, text, template, [(0, 1)])
    found = token_boundaries(ends, text, prompt.ids, tokenizer, prompt.spans)
    shorter = template.render(messages[:1], add_generation_prompt=False).rstrip()
    system = encode_prompt(shorter, tokenizer).ids
    assert found[len(system)] == "system"
    assert prompt.ids[: len(system)] == system
    whole = template.render(messages, add_generation_prompt=False).rstrip()
    assert found[len(encode_prompt(whole, tokenizer).ids)] == "message"
    content = encode_prompt(text[: text.index("S") + 1], tokenizer).ids
    assert found[len(content)] == "breakpoint"
    assert [span.last for span in prompt.spans] == [s.first for s in prompt.spans[1:]] + [
        len(prompt.ids)
    ]


def test_messages_after_a_state_keep_their_tokens(tokenizer):
    text = ContinuedTemplate(ChatTemplate("{{ bos_token }}" + CHATML, NAMES[0])).render([user("a")])
    expected = ChatTemplate(CHATML).render([user("a")])
    assert encode_prompt(text, tokenizer).ids == encode_prompt(expected, tokenizer).ids


def test_what_the_process_of_a_template_says_is_checked(monkeypatch):
    template = BoundedTemplate("a")
    for said in (b"T[[0, 2]]\na", b"T[[-1, 1]]\na", b"T[[1, 0]]\na", b"Ta", b"T[[1]]\na", b"T[\na"):
        monkeypatch.setattr(template._child, "ask", lambda _, said=said: said)
        with pytest.raises(TemplateFailedError, match="damaged"):
            template.render([user("a")])


def test_what_is_mixed_too_finely_is_refused():
    mixed = "{% for i in range(70000) %}a{{ messages[0].content[:1] }}{% endfor %}"
    template = BoundedTemplate("{% if messages[0].content == 'b' %}" + mixed + "{% endif %}")
    assert template.render([user("a")]) == ""
    with pytest.raises(TokenizerError, match="too finely"):
        template.render([user("b")])


def folder_of(tmp_path, **config):
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_folder_names_special_tokens(tmp_path):
    """As conversions have it: of those that are text in the vocabulary it says so in vain."""
    added = {
        "0": {"content": "<s>", "special": True},
        "261": {"content": "\n\n", "special": True},
        "65530": {"content": "<|im_start|>", "special": True},
        "65531": {"content": "<tool>", "special": False},
        "99999": {"content": "<far>", "special": True},
        "x": {"content": "<x>", "special": True},
        "9" * 5000: {"content": "<y>", "special": True},
    }
    files = locate(str(folder_of(tmp_path, added_tokens_decoder=added, eos_token="\n\n")))
    tokenizer = load_tokenizer("world", 65536, files.eos_token, files.special_tokens)
    assert tokenizer.special_tokens == {"<s>": 0, "<|im_start|>": 65530, END_OF_TEXT: 0}
    assert tokenizer.encode("\n\n") == [261]
    assert tokenizer.vocab_size == 65531
    template = ChatTemplate("<s><|im_start|>{{ messages[0].content }}")
    ids = encode_prompt(template.render([user("<s><|im_start|>\n\n")]), tokenizer).ids
    assert ids == [0, 65530, *tokenizer.encode("<s><|im_start|>\n\n")]
    assert not special_in(ids[2:], tokenizer)


def test_a_folder_names_them_in_the_older_form(tmp_path):
    folder_of(tmp_path, bos_token="<s>", pad_token={"content": "<p>"}, eos_token="\n\n")
    (tmp_path / "added_tokens.json").write_text('{"<s>": 0, "<p>": -1, "<other>": 5}')
    assert locate(str(tmp_path)).special_tokens == {"<s>": 0}


def test_a_vocabulary_with_turn_tokens_of_its_own(tmp_path):
    path = tmp_path / "rwkv_vocab_v20230424.txt"
    lines = [f"{byte + 1} {bytes((byte,))!r} 1" for byte in range(256)]
    path.write_text("\n".join([*lines, "65530 '<|im_start|>' 12"]))
    special = {"<|im_start|>": 65530}
    tokenizer = load_tokenizer(str(path), 65536, "", special)
    assert 65530 not in tokenizer.encode("<|im_start|>")
    text = ChatTemplate("<|im_start|>{{ messages[0].content }}").render([user("<|im_start|>")])
    assert encode_prompt(text, tokenizer).ids.count(65530) == 1
    # Where no file says that it is special, it is text as any other.
    assert load_tokenizer(str(path), 65536).encode("<|im_start|>") == [65530]
