"""The RWKV-7 recurrence, forward and backward, as Numba kernels behind a torch autograd function.

Per head, with a state S of shape [N, N] (rows: value channels, columns: key channels):

    S_t = S_{t-1} diag(w_t) + (S_{t-1} a_t) b_t^T + v_t k_t^T,    y_t = S_t r_t

RWKV-7 "Goose" (arXiv 2503.14456), section 4, with a = -kk and b = kk * in-context learning rate.
"""

import numpy as np
import torch
from numba import njit, prange

HEAD_SIZE = 64
CHUNK = 16  # a state is kept every CHUNK tokens; the ones between are computed again in backward


@njit(fastmath=True, nogil=True, inline="always")
def _load(token, r, w, k, a, b):  # type: ignore[no-untyped-def]
    """Lay one token's key-side inputs one after another in token [5 N]."""
    for j in range(HEAD_SIZE):
        token[j] = r[j]
        token[HEAD_SIZE + j] = w[j]
        token[2 * HEAD_SIZE + j] = k[j]
        token[3 * HEAD_SIZE + j] = a[j]
        token[4 * HEAD_SIZE + j] = b[j]


@njit(fastmath=True, nogil=True, inline="always")
def _step(state, token, v, sa):  # type: ignore[no-untyped-def]
    """Advance one state [N, N] by one token and leave S_{t-1} a_t in sa [N]."""
    for i in range(HEAD_SIZE):
        total = np.float32(0)
        for j in range(HEAD_SIZE):
            total += state[i, j] * token[3 * HEAD_SIZE + j]
        sa[i] = total
        vi = v[i]
        for j in range(HEAD_SIZE):
            state[i, j] = (
                state[i, j] * token[HEAD_SIZE + j]
                + total * token[4 * HEAD_SIZE + j]
                + vi * token[2 * HEAD_SIZE + j]
            )


@njit(fastmath=True, nogil=True, parallel=True, cache=True)
def _forward(r, w, k, v, a, b, y, kept):  # type: ignore[no-untyped-def]
    """Fill y [B, T, H, N] and kept [B, H, T / CHUNK, N, N] from inputs of shape [B, T, H, N]."""
    batch, length, heads, _ = r.shape
    for bh in prange(batch * heads):
        n, h = bh // heads, bh % heads
        state = np.zeros((HEAD_SIZE, HEAD_SIZE), np.float32)
        sa = np.empty(HEAD_SIZE, np.float32)
        token = np.empty(5 * HEAD_SIZE, np.float32)
        for t in range(length):
            if t % CHUNK == 0:
                kept[n, h, t // CHUNK] = state
            _load(token, r[n, t, h], w[n, t, h], k[n, t, h], a[n, t, h], b[n, t, h])
            _step(state, token, v[n, t, h], sa)
            for i in range(HEAD_SIZE):
                total = np.float32(0)
                for j in range(HEAD_SIZE):
                    total += state[i, j] * token[j]
                y[n, t, h, i] = total


@njit(fastmath=True, nogil=True, inline="always")
def _step_back(before, after, sa, ds, token, v, dy, sums, dv):  # type: ignore[no-untyped-def]
    """Pull the gradient of one state, ds [N, N], back over one token.

    token holds r, w, k, a, b and sums receives their gradients, each N long, one after another:
    few arrays at fixed distances let the compiler prove that nothing overlaps, and vectorise.
    """
    sums[:] = np.float32(0)
    for i in range(HEAD_SIZE):
        dyi, vi, sai = dy[i], v[i], sa[i]
        dvi = np.float32(0)
        dsa = np.float32(0)
        for j in range(HEAD_SIZE):
            g = ds[i, j] + dyi * token[j]
            ds[i, j] = g
            dvi += g * token[2 * HEAD_SIZE + j]
            dsa += g * token[4 * HEAD_SIZE + j]
        dv[i] = dvi
        for j in range(HEAD_SIZE):
            g = ds[i, j]
            old = before[i, j]
            sums[j] += after[i, j] * dyi
            sums[HEAD_SIZE + j] += g * old
            sums[2 * HEAD_SIZE + j] += g * vi
            sums[3 * HEAD_SIZE + j] += old * dsa
            sums[4 * HEAD_SIZE + j] += g * sai
            ds[i, j] = g * token[HEAD_SIZE + j] + dsa * token[3 * HEAD_SIZE + j]


@njit(fastmath=True, nogil=True, parallel=True, cache=True)
def _backward(  # type: ignore[no-untyped-def]
    r, w, k, v, a, b, kept, dy, dr, dw, dk, dv, da, db
):
    """Fill the gradients of all six inputs, each [B, T, H, N], from dy and the kept states."""
    batch, length, heads, _ = r.shape
    size = HEAD_SIZE
    for bh in prange(batch * heads):
        n, h = bh // heads, bh % heads
        ds = np.zeros((size, size), np.float32)
        states = np.empty((CHUNK + 1, size, size), np.float32)
        sa = np.empty((CHUNK, size), np.float32)
        token = np.empty(5 * size, np.float32)
        sums = np.empty(5 * size, np.float32)
        for chunk in range(length // CHUNK - 1, -1, -1):
            start = chunk * CHUNK
            states[0] = kept[n, h, chunk]
            for s in range(CHUNK):
                t = start + s
                states[s + 1] = states[s]
                _load(token, r[n, t, h], w[n, t, h], k[n, t, h], a[n, t, h], b[n, t, h])
                _step(states[s + 1], token, v[n, t, h], sa[s])
            for s in range(CHUNK - 1, -1, -1):
                t = start + s
                _load(token, r[n, t, h], w[n, t, h], k[n, t, h], a[n, t, h], b[n, t, h])
                _step_back(
                    states[s], states[s + 1], sa[s], ds, token,
                    v[n, t, h], dy[n, t, h], sums, dv[n, t, h],
                )  # fmt: skip
                for j in range(size):
                    dr[n, t, h, j] = sums[j]
                    dw[n, t, h, j] = sums[size + j]
                    dk[n, t, h, j] = sums[2 * size + j]
                    da[n, t, h, j] = sums[3 * size + j]
                    db[n, t, h, j] = sums[4 * size + j]


class WKV7(torch.autograd.Function):
    """y [B, T, H, N] = WKV7.apply(r, w, k, v, a, b), all float32; T is a multiple of CHUNK."""

    @staticmethod
    def forward(ctx, *inputs: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
        inputs = tuple(x.contiguous() for x in inputs)
        batch, length, heads, size = inputs[0].shape
        y = torch.empty_like(inputs[0])
        kept = torch.empty(batch, heads, length // CHUNK, size, size)
        arrays = [x.detach().numpy() for x in (*inputs, y, kept)]
        _forward(*arrays)
        ctx.save_for_backward(*inputs, kept)
        return y

    @staticmethod
    def backward(ctx, dy: torch.Tensor):  # type: ignore[no-untyped-def]
        *inputs, kept = ctx.saved_tensors
        grads = tuple(torch.empty_like(x) for x in inputs)
        arrays = [x.detach().numpy() for x in (*inputs, kept, dy.contiguous(), *grads)]
        _backward(*arrays)
        return grads


def wkv7_loop(*inputs: torch.Tensor) -> torch.Tensor:
    """The same in plain torch, any length and any device: slow, obvious, the kernels' oracle."""
    r, w, k, v, a, b = inputs  # each [B, T, H, N]
    batch, length, heads, size = r.shape
    state = r.new_zeros(batch, heads, size, size)
    outputs = []
    for t in range(length):
        sa = state @ a[:, t, :, :, None]  # [B, H, N, 1]
        state = (
            state * w[:, t, :, None, :]
            + sa * b[:, t, :, None, :]
            + v[:, t, :, :, None] * k[:, t, :, None, :]
        )
        outputs.append((state @ r[:, t, :, :, None])[..., 0])
    return torch.stack(outputs, dim=1)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def wkv7(*inputs: torch.Tensor) -> torch.Tensor:
    """The recurrence by the fastest way that applies; every input is [B, T, H, N]."""
    r = inputs[0]
    whole = r.shape[1] % CHUNK == 0 and r.shape[3] == HEAD_SIZE
    if whole and r.is_cpu and r.dtype == torch.float32:
        y: torch.Tensor = WKV7.apply(*inputs)  # type: ignore[no-untyped-call]
        return y
    return wkv7_loop(*inputs)
