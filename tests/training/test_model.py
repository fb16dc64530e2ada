"""The recurrence and the model against slow loops and a real trained checkpoint."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")
safetensors_torch = pytest.importorskip("safetensors.torch")

from training.matmul import matmul  # noqa: E402
from training.model import RWKV7, ModelConfig  # noqa: E402
from training.optim import initialize, make_optimizer, warm_stable_decay  # noqa: E402
from training.wkv7 import HEAD_SIZE, wkv7, wkv7_loop  # noqa: E402

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "tiny-rwkv"
SMALL = ModelConfig(vocab_size=300, n_layer=2, n_embd=64, rank_decay=8, rank_rate=8, rank_gate=8)


def recurrence_inputs(seed: int):
    """r, w, k, v, a, b of shape [2, 32, 2, N], in the ranges that the model gives them."""
    torch.manual_seed(seed)
    shape = (2, 32, 2, HEAD_SIZE)
    r, k, v = (0.5 * torch.randn(shape) for _ in range(3))
    w = 0.55 + 0.45 * torch.rand(shape)
    kk = torch.nn.functional.normalize(torch.randn(shape), dim=-1)
    return r, w, k, v, -kk, kk * torch.rand(shape)


def test_kernels_equal_autograd_through_the_naive_loop() -> None:
    inputs, dy = recurrence_inputs(0), torch.randn(2, 32, 2, HEAD_SIZE)
    results = []
    for function, dtype in ((wkv7, torch.float32), (wkv7_loop, torch.float64)):
        leaves = [x.detach().to(dtype).requires_grad_() for x in inputs]
        y = function(*leaves)
        y.backward(dy.to(dtype))
        results.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for fast, slow in zip(*results, strict=True):
        assert (fast - slow).abs().max() < 1e-5 * slow.abs().max()


def test_a_length_that_is_no_whole_chunk_takes_the_loop() -> None:
    inputs = recurrence_inputs(1)
    whole = wkv7(*inputs)
    part = wkv7(*(x[:, :21] for x in inputs))
    torch.testing.assert_close(part, whole[:, :21])


@pytest.mark.parametrize("padding", [0, 13])  # the loop, and the kernels
def test_logits_of_a_trained_checkpoint(padding: int) -> None:
    weights = FIXTURES / "tiny-rwkv-7v0-834K.safetensors"
    if not weights.exists():
        pytest.skip("no ../shared/fixtures/tiny-rwkv")
    expected = np.fromfile(FIXTURES / "expected-logits-7v0-834K.bin", "<f4")
    model = RWKV7.from_state_dict(safetensors_torch.load_file(weights))
    with torch.no_grad():
        logits = model(torch.tensor([[*b'"in', *[0] * padding]]))[0, 2]
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-4, rtol=0)


def test_initial_model_knows_nothing_yet() -> None:
    model = RWKV7(SMALL)
    initialize(model, seed=1)
    logits = model(torch.randint(0, 300, (2, 16)))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(0, 300, (32,)))
    assert abs(loss.item() - np.log(300)) < 1.5


def test_initialisation_follows_the_seed() -> None:
    models = [RWKV7(SMALL) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        initialize(model, seed)
    first, same, other = (model.head.weight for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_bfloat16_products_are_close_to_float32() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, 64), torch.randn(64, 32)
    grads = []
    for dtype in (torch.float32, torch.bfloat16):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        y = matmul(*leaves, dtype, torch.float32)
        y.square().sum().backward()
        grads.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for exact, low in zip(*grads, strict=True):
        assert (exact - low).norm() < 0.02 * exact.norm()


def test_learning_rate_groups() -> None:
    model = RWKV7(SMALL)
    optimizer = make_optimizer(model, 1e-3, 0.1)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [{names[id(p)] for p in g["params"]} for g in optimizer.param_groups]
    assert groups[0] == {"blocks.0.att.w0", "blocks.1.att.w0"}
    assert {"emb.weight", "blocks.1.ffn.key.weight"} <= groups[1]
    assert {"ln_out.weight", "blocks.1.att.w1", "blocks.0.att.r_k"} <= groups[2]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.1, 0.0]
    assert sum(map(len, groups)) == len(names)


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    assert [warm_stable_decay(step, 4, 9) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warm_stable_decay(100, 4, 1.0) == 1
    assert warm_stable_decay(100, 4, 0.25) == pytest.approx(0.25)
    assert warm_stable_decay(100, 4, -1) == 0
