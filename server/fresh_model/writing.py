"""Writing a fresh, untrained model of any size in little memory: what `rwkv-server init` does."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from server.checkpoints.checkpoint import float32_to_bfloat16
from server.checkpoints.writer import Array, Progress, stream_pieces
from server.model.config import ModelConfig, tensor_shapes
from server.model.initial_values import Piece
from server.model.initialize import initialize_pieces

_AHEAD = 2
"""So many pieces a thread are made before they are written."""


def write_fresh_model(
    path: Path, config: ModelConfig, seed: int, dtype: str, threads: int, progress: Progress
) -> None:
    """Write a model in float32 or bfloat16; no byte depends on the number of threads.

    Raises OSError, and ValueError as initialize() does.
    """
    layout = {name: (dtype, shape) for name, shape in tensor_shapes(config).items()}
    tensors = list(initialize_pieces(config, seed))
    tasks = (partial(_stored, piece, dtype) for _, pieces in tensors for piece in pieces)
    with ThreadPoolExecutor(threads) as pool:
        made = _in_order(pool, tasks, threads * _AHEAD)
        pieces = ((name, islice(made, len(parts))) for name, parts in tensors)
        stream_pieces(path, layout, pieces, {"generation": config.generation}, progress)


def _stored(piece: Piece, dtype: str) -> Array:
    values = piece()
    return float32_to_bfloat16(values) if dtype == "bfloat16" else values


def _in_order(
    pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], Array]], ahead: int
) -> Iterator[Array]:
    """The results of tasks in their order, of which some are computed ahead."""
    waiting: deque[Future[Array]] = deque()
    for task in tasks:
        waiting.append(pool.submit(task))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
