"""Which models reason, by their names, and how they are asked to."""

import json

import jinja2
import pytest

from server.checkpoints.locate import locate
from server.checkpoints.named_facts import trained_length
from server.model.initialize import design, initialize
from server.protocol.messages import ModelSpec
from server.registry.served_model import open_model
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.g1_turns import AMOUNTS, G1Turns
from server.tokenizer.prompt_parts import encode_prompt
from server.tokenizer.reasoning import is_g1, reasoning_of, thinking_words
from server.tokenizer.request_template import RequestTemplate
from tests.model.random_models import write_model
from tests.tokenizer.test_prompt_parts import FLA

PLAIN_FLA = FLA
THINKING_FLA = FLA.replace(
    "{{ 'Assistant:' }}",
    "{% if enable_thinking is defined and enable_thinking == False %}"
    "{{ 'Assistant: <think>\n</think>' }}{% else %}{{ 'Assistant: <think' }}{% endif %}",
)

G1 = {
    "rwkv7-g1-0.1b-20250307-ctx4096": "bare",
    "rwkv7-0.1B-g1": "bare",
    "rwkv7-g0a3-7.2b-20251029-ctx8192": "bare",
    "rwkv7a-g1b-0.1b-20250819-ctx4096": "bare",
    "rwkv7-g1d-0.4b-20260210-ctx8192": "bare",
    "rwkv7-g1e-7.2b-20260301-ctx8192.Q4_K_M": "bare",
    "rwkv7-g1e-1.5b-Q8_0": "bare",
    "rwkv7-g1f-7.2b-20260414-ctx8192": "parentheses",
    "RWKV7-G1f-13.3B-HF": "parentheses",
    "RWKV7-G1k-1.5B-20260930-bucket": "parentheses",
    "0.4B_g1l_rwkv-7": "parentheses",
    "rwkv-7-world-g1g-2.9b": "parentheses",
    "g1d.rwkv7.0.4b-finetuned-20260501": "parentheses",
    "Rwkv7 G1d 0.4B": "bare",
    "rwkv7g1d-0.4b": "bare",
    "RWKV-x070-G1-1.5B": "bare",
}


@pytest.mark.parametrize("name", G1)
def test_names_of_g1(name):
    assert is_g1([name])
    assert thinking_words([name]) == G1[name]
    assert reasoning_of("auto", ChatTemplate(), name, architecture="rwkv7") == "asked"


@pytest.mark.parametrize(
    "name",
    [
        "RWKV-x070-World-0.4B-v2.9-20250107-ctx4096",
        "rwkv7-big1-0.1b",
        "rwkv7-lg1-0.1b",
        "rwkv7-g10-0.1b",
        "rwkv7-g1nger-0.1b",
        "rwkv7-g12-0.1b",
        "rwkv7-0.1g1",
        "rwkv7-mug1d",
        "rwkv-6-g1-1.6b",
        "rwkv6-g1d-1.6b",
        "g1d-0.4b",
        "",
    ],
)
def test_names_of_others(name):
    assert not is_g1([name])
    assert reasoning_of("auto", ChatTemplate(), name) == "off"


def test_the_architecture_counts_as_well():
    assert is_g1(["g1d-0.4b"], "rwkv7")
    assert is_g1(["g1d-0.4b"], "rwkv7a")
    assert not is_g1(["g1d-0.4b"], "rwkv6")
    assert not is_g1(["rwkv7-g1d-0.4b"], "rwkv5.2")  # whatever it is called
    assert thinking_words(["mine"]) == "parentheses"
    assert thinking_words(["mine", "rwkv7-g1d"]) == "bare"


def test_templates_and_settings():
    plain, thinking = ChatTemplate(PLAIN_FLA), ChatTemplate(THINKING_FLA)
    assert reasoning_of("auto", thinking, "x") == "asked"
    assert reasoning_of("auto", plain, "x") == "off"
    assert reasoning_of("auto", plain, "rwkv7-0.1B-g1") == "asked"
    for template in (plain, thinking, ChatTemplate()):
        for choice in ("on", "asked", "off"):
            assert reasoning_of(choice, template, "rwkv7-g1") == choice


USER = {"role": "user", "content": "a\r\n\r\n\n b"}
SYSTEM = {"role": "system", "content": "\n\nx\n \ny\r"}


@pytest.mark.parametrize("words", ["bare", "parentheses"])
@pytest.mark.parametrize("effort", [None, *AMOUNTS])
@pytest.mark.parametrize("thinks", [None, True, False])
def test_an_own_template_is_asked_as_the_built_in_one(words, effort, thinks):
    variables = {"enable_thinking": thinks, "reasoning_effort": effort, "thinking_words": words}
    given = {name: value for name, value in variables.items() if value is not None}
    for messages in ([SYSTEM, USER], [USER, {"role": "assistant", "content": "c"}, USER]):
        for goes_on in (True, False):
            expected = RequestTemplate(ChatTemplate(), (), given).render(messages, goes_on)
            turns = G1Turns(words, thinks, effort)
            found = RequestTemplate(ChatTemplate(PLAIN_FLA), (), given, turns).render(
                messages, goes_on
            )
            assert found.rstrip("\n") == "<|rwkv_tokenizer_end_of_text|>" + expected


def test_the_built_in_template_has_the_same_amounts():
    tree = jinja2.Environment().parse(ChatTemplate().source)
    (table,) = (
        found.node.as_const()
        for found in tree.find_all(jinja2.nodes.Assign)
        if getattr(found.target, "name", "") == "amounts"
    )
    assert table == AMOUNTS


def test_a_template_that_begins_reasoning_is_left_to_do_so():
    for thinks, end in ((None, "<think"), (True, "<think"), (False, "<think>\n</think>")):
        variables = {} if thinks is None else {"enable_thinking": thinks}
        turns = G1Turns("parentheses", thinks, "low")
        text = RequestTemplate(ChatTemplate(THINKING_FLA), (), variables, turns).render([USER])
        words = " (think a bit)" if thinks else ""
        assert text.endswith(f"User: a\n b{words}\n\nAssistant: {end}")


def write_folder(folder, name, **tokenizer_config):
    folder = folder / name
    folder.mkdir()
    config = design("rwkv7", 1, 16, 65536, 16)
    write_model(folder / "model.safetensors", dict(initialize(config, 0)))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    return folder


def served(path, **options):
    return open_model(ModelSpec(id="x", path=str(path), **options))


def test_a_folder_of_fla(tmp_path):
    folder = write_folder(tmp_path, "rwkv7-0.1B-g1", chat_template=THINKING_FLA)
    model = served(folder)
    assert (model.reasoning, model.thinking_words) == ("asked", "bare")
    text = model.chat_template.render([{"role": "user", "content": "Hi"}])
    assert encode_prompt(text, model.tokenizer).ids[0] == 0
    for path in (folder, folder / "model.safetensors"):
        assert served(path).reasoning == "asked"
        assert served(path, reasoning="off").thinking_words is None
    other = write_folder(tmp_path, "rwkv7-big1-0.1b", chat_template=PLAIN_FLA)
    assert served(other).reasoning == "off"
    assert served(other, reasoning="asked").thinking_words == "parentheses"


def test_the_names_of_a_model(tmp_path):
    folder = write_folder(tmp_path, "snapshot")
    file = folder / "model.safetensors"
    assert locate(str(file)).names == ("model", "snapshot")
    assert locate(str(file.rename(folder / "rwkv-x.safetensors"))).names == ("rwkv-x",)


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("rwkv7-g1d-0.4b-20260210-ctx8192", 8192),
        ("rwkv7-g1k-7.2b-20260930-ctx25600", 25600),
        ("RWKV-5-World-3B-v2-20231118-ctx16k", 16384),
        ("RWKV-4-Pile-14B-20230313-ctx8192-test1050", 8192),
        ("model_CTX_4096_x", 4096),
        ("rwkv7-g1d-0.4b", None),
        ("rwkv7-ctxt4096-0.4b", None),
        ("rwkv7-octx4096-0.4b", None),
        ("rwkv7-ctx0-0.4b", None),
        ("rwkv7-ctx4096tokens", None),
    ],
)
def test_the_length_that_a_model_was_trained_for(tmp_path, name, length):
    path = tmp_path / f"{name}.pth"
    path.write_bytes(b"")
    assert locate(str(path)).trained_length == length


def test_the_length_in_config_and_gguf():
    for field in ("max_position_embeddings", "max_context_length", "context_length", "n_ctx"):
        assert trained_length(["rwkv7-g1d"], {field: 2048}, None) == 2048
        assert trained_length(["rwkv7-g1d-ctx8192"], {field: 2048}, None) == 8192
    for wrong in (0, -1, True, "2048", 2048.0, 1 << 20, None):
        assert trained_length([], {"n_ctx": wrong}, None) is None


TRAINED = (
    "rwkv-0",
    "rwkv-112",
    "RWKV-final",
    "rwkv_last",
    "rwkv-merged",
    "rwkv-step100",
    "epoch=3",
)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".st"])
def test_what_a_trainer_wrote_is_called_after_its_folder(tmp_path, name, suffix):
    folder = tmp_path / "rwkv7-g1d-0.4b-20260210-ctx8192"
    folder.mkdir()
    path = folder / f"{name}{suffix}"
    path.write_bytes(b"")
    found = locate(str(path))
    assert found.names == (name, folder.name)
    assert is_g1(found.names, "rwkv7")
    assert found.trained_length == 8192
    for own in ("rwkv7-world-ft", "RWKV-x070-World-0.4B", "rwkv7-0"):
        other = folder / f"{own}{suffix}"
        other.write_bytes(b"")
        assert locate(str(other)).names == (own,)


def test_it_is_served(tmp_path):
    folder = write_folder(tmp_path, "rwkv7-g1d-ctx4096")
    assert served(folder / "model.safetensors").trained_length == 4096


def test_a_snapshot_of_the_hub_is_called_after_its_repository(tmp_path):
    parts = ("models--fla-hub--rwkv7-0.1B-g1", "snapshots", "0123abc")
    folder = tmp_path.joinpath(*parts)
    folder.mkdir(parents=True)
    (tmp_path / "blob").write_bytes(b"")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert locate(str(folder / "model.safetensors")).names == ("model", "rwkv7-0.1B-g1")
