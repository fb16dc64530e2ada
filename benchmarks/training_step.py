"""Where the time of a training step goes, and what skipping the head for unlearnt tokens saves.

    python -m benchmarks.training_step WORK_DIR [--no-compile]

WORK_DIR is that of `python -m training prepare`. Prints one JSON line: the shares of one thread's
processor time (so that other programs matter less), and tokens a second of it.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from training.chat_format import IGNORE
from training.memory import keep_freed_memory
from training.model import ModelConfig
from training.train import TrainConfig, Trainer, token_losses

STEPS = 3
PARTS = {
    "products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::matmul"),
    "recurrence": ("WKV7", "WKV7Backward"),
    "optimizer": ("aten::_fused_adamw_", "aten::_foreach_norm", "aten::_foreach_mul_"),
    "loss": ("aten::_log_softmax", "aten::_log_softmax_backward_data", "aten::nll_loss_forward"),
}


def whole_head(trainer: Trainer, step: int) -> torch.Tensor:
    """The loss as it was computed before: every token goes through the head."""
    ids, targets, _ = trainer.batches.batch(step, 0.4)
    logits = trainer.model(ids).flatten(0, 1)
    return F.cross_entropy(logits.float(), targets.flatten(), ignore_index=IGNORE)


def learnt_only(trainer: Trainer, step: int) -> torch.Tensor:
    ids, targets, _ = trainer.batches.batch(step, 0.4)
    return token_losses(trainer.model, ids, targets)[0].mean()


def run(trainer: Trainer, loss_of: object, steps: int) -> float:
    """Processor seconds of a step."""
    start = time.process_time()
    for step in range(steps):
        trainer.optimizer.zero_grad(set_to_none=True)
        loss_of(trainer, step).backward()  # type: ignore[operator]
        trainer.optimizer.step()
    return (time.process_time() - start) / steps


def shares(trainer: Trainer) -> dict[str, float]:
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run(trainer, learnt_only, 1)
    times = {
        event.key: event.self_cpu_time_total
        for event in profiled.key_averages()
        if event.device_type == DeviceType.CPU
    }
    total = sum(times.values())
    found = {
        part: sum(times.get(name, 0) for name in names) / total for part, names in PARTS.items()
    }
    found["the rest, element-wise"] = 1 - sum(found.values())
    return {part: round(share, 3) for part, share in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    config = TrainConfig(1, 1e-3, bfloat16=False, compile=not arguments.no_compile)
    trainer = Trainer(config, ModelConfig(), arguments.work_dir)
    run(trainer, learnt_only, 1)
    before, after = run(trainer, whole_head, STEPS), run(trainer, learnt_only, STEPS)
    start = time.process_time()
    for step in range(STEPS):
        trainer.batches.batch(step, 0.4)
    data = (time.process_time() - start) / STEPS
    tokens = config.rows * config.length
    print(
        json.dumps(
            {
                "tokens_a_second_of_one_core": {
                    "whole_head": round(tokens / before),
                    "learnt_only": round(tokens / after),
                },
                "faster": round(before / after, 2),
                "data": round(data / after, 4),
                "shares": shares(trainer),
            }
        )
    )


if __name__ == "__main__":
    main()
