"""Replies made in batches against the model itself, and what is measured of them."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")

from training.generate import State, complete, step  # noqa: E402
from training.measures import NGrams, loops, xz_bits  # noqa: E402
from training.model import RWKV7, ModelConfig  # noqa: E402
from training.optim import initialize  # noqa: E402
from training.tokenizer import train_tokenizer  # noqa: E402

MODEL = ModelConfig(vocab_size=320, n_layer=3, n_embd=128, rank_decay=8, rank_rate=8, rank_gate=8)


@pytest.fixture(scope="module")
def model() -> RWKV7:
    """A model with every parameter away from zero, so that each part has its say."""
    made = RWKV7(MODEL)
    initialize(made, 1)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return made.eval()


@torch.no_grad()
def test_steps_equal_the_whole(model: RWKV7) -> None:
    ids = torch.randint(0, 320, (3, 16))
    state = State.empty(model, 3)
    features = torch.stack([step(model, ids[:, t], state) for t in range(16)], 1)
    torch.testing.assert_close(features, model.features(ids), atol=2e-4, rtol=1e-3)


@torch.no_grad()
def test_replies_do_not_depend_on_the_other_prompts(model: RWKV7) -> None:
    tokenizer = train_tokenizer(["User: Hello there!\n\nAssistant: Hi, how are you?"] * 5, 320)
    prompts = ["Hello", "User: how are you there, you", "H", "Hi, hi!"]
    together = complete(model, tokenizer, prompts, limit=9)
    for prompt, reply in zip(prompts, together, strict=True):
        assert complete(model, tokenizer, [prompt], limit=9) == [reply]
    ids = tokenizer.encode(prompts[1]).ids
    for _ in range(9):  # the plain way
        padded = torch.tensor([ids + [0] * (-len(ids) % 16)])
        ids.append(int(model(padded)[0, len(ids) - 1].argmax()))
    assert together[1].text == tokenizer.decode(ids[-9:]).split("\n\nUser:")[0].strip()
    sampled = [complete(model, tokenizer, prompts, 9, temperature=1.0, seed=s) for s in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_a_five_gram_model_spreads_a_chance_of_one() -> None:
    rng = np.random.default_rng(1)
    text = rng.integers(0, 6, 400).astype(np.uint16)
    grams = NGrams([text])
    context = text[50:54]
    chances = [
        2 ** -grams.bits(np.append(context, np.uint16(token)).astype(np.uint16))
        for token in range(4096)
    ]
    assert sum(chances) == pytest.approx(1, abs=1e-6)
    assert chances[int(text[54])] > 0.1 > chances[4000]
    assert grams.bits(text) / 396 < math.log2(6)


def test_xz_bits() -> None:
    assert xz_bits(b"a" * 100_000) < 0.02
    assert xz_bits(np.random.default_rng(1).bytes(10_000)) > 8


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("a car, a car, a car, a car, a car, a car", True),
        ("ha ha ha ha ha ha", True),
        ("Dog, cat, horse, cow and duck.", False),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15.", False),
        ("cat cat cat cat", False),  # as was asked for
    ],
)
def test_loops(text: str, loop: bool) -> None:
    assert loops(text) == loop
