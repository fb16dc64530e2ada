"""The training loop: a wall-clock budget for each stage, checkpoints that resume, a loss log."""

import json
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor
from torch.nn import functional as F

from training.batches import Batches
from training.chat_format import IGNORE
from training.model import RWKV7, ModelConfig
from training.optim import cosine, initialize, make_optimizer, set_learning_rate

WARMUP_STEPS = 40


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training."""

    stage: int
    minutes: float
    learning_rate: float
    last_rate: float  # the learning rate at the end, as a fraction of the first
    rows: int = 8
    length: int = 256
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
            for block in self.model.layers:
                block.compile(dynamic=False)
        self.optimizer = make_optimizer(self.model, config.learning_rate, config.weight_decay)
        self.batches = Batches(work, config.stage, config.rows, config.length, config.seed)
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.stopped = False

    @property
    def path(self) -> Path:
        return self.work / f"stage{self.config.stage}.pt"

    def progress(self) -> float:
        return self.seconds / (60 * self.config.minutes)

    def train_step(self) -> float:
        """One optimizer step; returns its loss."""
        ids, targets = (x.to(self.config.device) for x in self.batches.batch(self.step))
        rate = cosine(self.progress(), 1.0, self.config.last_rate)
        rate *= min(1.0, (self.step + 1) / WARMUP_STEPS) * self.config.learning_rate
        set_learning_rate(self.optimizer, rate)
        loss = token_loss(self.model(ids), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.tokens += ids.numel()
        return loss.item()

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
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)

    def resume(self) -> bool:
        """Go on from this stage's checkpoint, if there is one."""
        if not self.path.exists():
            return False
        state = load_checkpoint(self.path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
        return True

    def run(self) -> None:
        """Train until the stage's minutes, counted over all its sessions, are used up."""
        log_path = self.work / "log.jsonl"
        saved = self.seconds
        self._stop_on_signal()
        with _progress_bar() as bar, log_path.open("a", buffering=1) as log:
            total = 60 * self.config.minutes
            name = f"stage {self.config.stage}"
            task = bar.add_task(name, total=total, loss=0.0, tokens=self.tokens)
            while self.progress() < 1 and not self.stopped:
                start = time.monotonic()
                loss = self.train_step()
                self.seconds += time.monotonic() - start
                log.write(json.dumps(self._entry(loss)) + "\n")
                bar.update(task, completed=self.seconds, loss=loss, tokens=self.tokens)
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

    def _entry(self, loss: float) -> dict[str, Any]:
        entry = {"stage": self.config.stage, "step": self.step, "tokens": self.tokens}
        return entry | {"seconds": round(self.seconds, 2), "loss": round(loss, 4)}


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy [] of logits [B, T, V] where targets [B, T] are not IGNORE."""
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORE)


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


def train(config: TrainConfig, model_config: ModelConfig, work: Path) -> Trainer:
    """Run one stage, resumed if it had begun; stage 2 starts from the weights of stage 1."""
    trainer = Trainer(config, model_config, work)
    if not trainer.resume() and config.stage == 2:
        first = work / "stage1.pt"
        if not first.exists():
            raise FileNotFoundError(f"{first} is missing: train stage 1 first")
        trainer.model.load_state_dict(load_checkpoint(first)["model"])
    trainer.run()
    return trainer
