"""The training loop: a wall-clock budget, checkpoints that resume, a loss log."""

import json
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor
from torch._functorch import config as functorch_config
from torch.nn import functional as F

from training.batches import Batches
from training.chat_format import IGNORE
from training.model import RWKV7, ModelConfig
from training.optim import initialize, make_optimizer, set_learning_rate, warm_stable_decay


@dataclass(frozen=True)
class TrainConfig:
    """One run of training: at a steady rate, and at a falling one in its last minutes."""

    minutes: float
    learning_rate: float
    decay_minutes: float = 20.0
    last_rate: float = 0.02  # the learning rate at the end, as a fraction of the highest
    warmup_steps: int = 40
    text_share: float = 0.4  # of the rows; the others are conversations
    last_text_share: float = 0.15  # while the rate falls
    rows: int = 4
    length: int = 384
    weight_decay: float = 0.1
    seed: int = 1
    bfloat16: bool = True
    compile: bool = False  # needs a C++ compiler
    device: str = "cpu"
    checkpoint_seconds: float = 120.0


class Trainer:
    """A model in training, and everything that a checkpoint must hold to go on exactly there."""

    def __init__(self, config: TrainConfig, model_config: ModelConfig, work: Path) -> None:
        self.config, self.work = config, work
        compute = torch.bfloat16 if config.bfloat16 else torch.float32
        self.model = RWKV7(model_config, compute)
        initialize(self.model, config.seed)
        self.model.to(config.device)
        if config.compile:  # fuses the element-wise maths between the products
            # What torch 2.13 takes from this cache has views of random sizes.
            functorch_config.enable_autograd_cache = False
            for block in self.model.layers:
                block.compile(dynamic=False)
        self.optimizer = make_optimizer(self.model, config.learning_rate, config.weight_decay)
        self.batches = Batches(work, config.rows, config.length, config.seed)
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.before = {"tokens": 0, "seconds": 0.0}  # of the weights that the run began with
        self.stopped = False

    @property
    def path(self) -> Path:
        return self.work / "checkpoint.pt"

    def schedule(self) -> tuple[float, float]:
        """(learning rate, share of text) of the next step."""
        c = self.config
        left = 60 * c.minutes - self.seconds
        rate = warm_stable_decay(self.step, c.warmup_steps, left / (60 * c.decay_minutes))
        share = c.text_share if left > 60 * c.decay_minutes else c.last_text_share
        return c.learning_rate * max(rate, c.last_rate), share

    def train_step(self) -> dict[str, float]:
        """One optimizer step; returns its loss, and that of text and conversations apart."""
        rate, share = self.schedule()
        ids, targets, is_text = self.batches.batch(self.step, share)
        set_learning_rate(self.optimizer, rate)
        losses, learnt = token_losses(
            self.model, ids.to(self.config.device), targets.to(self.config.device)
        )
        loss = losses.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.tokens += ids.numel()
        entry = {"loss": loss.item()}
        of_text = is_text[:, None].expand_as(targets)[learnt.cpu()]
        for name, chosen in (("text", of_text), ("chat", ~of_text)):
            if chosen.any():
                entry[name] = losses.detach().cpu()[chosen].mean().item()
        return entry

    def timed_step(self) -> dict[str, float]:
        """The same, counted against the minutes of the run."""
        start = time.monotonic()
        losses = self.train_step()
        self.seconds += time.monotonic() - start
        return losses

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        state = {
            "model_config": asdict(self.model.config),
            "config": asdict(self.config),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "before": self.before,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)

    def resume(self) -> bool:
        """Go on from the checkpoint of this run, if there is one."""
        if not self.path.exists():
            return False
        state = load_checkpoint(self.path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        self.before = state["before"]
        return True

    def start_from(self, weights: RWKV7, before: dict[str, Any]) -> None:
        """Begin with trained weights, a fresh optimizer and the count of what they have seen."""
        self.model.load_state_dict(weights.state_dict())
        self.before = {key: before.get(key, 0) for key in self.before}

    def run(self) -> None:
        """Train until the minutes, counted over all sessions of the run, are used up."""
        log_path = self.work / "log.jsonl"
        saved = self.seconds
        self._stop_on_signal()
        with _progress_bar() as bar, log_path.open("a", buffering=1) as log:
            total = 60 * self.config.minutes
            task = bar.add_task("training", total=total, loss=0.0, tokens=self.tokens)
            while self.seconds < total and not self.stopped:
                losses = self.timed_step()
                log.write(json.dumps(self._entry(losses)) + "\n")
                bar.update(task, completed=self.seconds, loss=losses["loss"], tokens=self.tokens)
                if self.seconds - saved > self.config.checkpoint_seconds:
                    self.save()
                    saved = self.seconds
        self.save()

    def _stop_on_signal(self) -> None:
        """Finish the step and save when asked to end, so that at most one step is lost."""

        def stop(*_: object) -> None:
            self.stopped = True

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)

    def _entry(self, losses: dict[str, float]) -> dict[str, Any]:
        entry = {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds, 2)}
        return entry | {name: round(loss, 4) for name, loss in losses.items()}


def token_losses(model: RWKV7, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(losses [learnt tokens], which [B, T] are learnt): those whose target is not IGNORE.

    Only these go through the head, which is a fifth of the work of a small model.
    """
    learnt = targets != IGNORE
    logits = model.logits(model.features(ids)[learnt])  # [learnt tokens, V]
    return F.cross_entropy(logits.float(), targets[learnt], reduction="none"), learnt


def load_checkpoint(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f}, {task.fields[tokens]:,} tokens"),
        TimeElapsedColumn(),
    )
