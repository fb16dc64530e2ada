"""Matrix products in a chosen precision, with float32 master weights."""

import torch
from torch import Tensor


class _LowPrecision(torch.autograd.Function):
    """x [..., K] times weight [K, N] in bfloat16, forward and backward, with float32 gradients.

    torch.autocast would also lower the element-wise maths and the recurrence, which need float32.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, out_dtype: torch.dtype) -> Tensor:  # type: ignore[no-untyped-def]
        low_x, low_weight = x.to(torch.bfloat16).flatten(0, -2), weight.to(torch.bfloat16)
        ctx.save_for_backward(low_x, low_weight)
        ctx.x_dtype = x.dtype
        return (low_x @ low_weight).to(out_dtype).view(*x.shape[:-1], weight.shape[1])

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        low_x, low_weight = ctx.saved_tensors
        low_grad = grad.to(torch.bfloat16).reshape(-1, grad.shape[-1])
        dx = (low_grad @ low_weight.t()).to(ctx.x_dtype).view(*grad.shape[:-1], -1)
        return dx, (low_x.t() @ low_grad).float(), None


def matmul(x: Tensor, weight: Tensor, dtype: torch.dtype, out_dtype: torch.dtype) -> Tensor:
    """x [..., K] @ weight [K, N], multiplied in `dtype`."""
    if dtype == torch.float32:
        return x @ weight
    result: Tensor = _LowPrecision.apply(x, weight, out_dtype)  # type: ignore[no-untyped-call]
    return result
