"""Puts an engine together from settings and files."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from server.cache_root import cache_root
from server.checkpoints.locate import ModelFiles, choose_tokenizer
from server.config import EngineSettings
from server.engine.engine import Engine
from server.engine.grammar_compiler import GrammarCompiler
from server.engine.grammar_rows import GrammarRows
from server.engine.model_runner import ModelRunner
from server.engine.output_processor import OutputProcessor
from server.engine.prefix_cache import PrefixCache
from server.engine.scheduler import Scheduler
from server.kernels.team import Team
from server.model.fingerprint import state_fingerprint
from server.model.heads import ROWS, Reranker
from server.model.initial_state import StateArrays
from server.model.loading import OnProgress, WeightsCache, choose_dtype, load
from server.model.model import Model
from server.model.open_parts import open_parts
from server.model.reranker_file import RerankerFile, open_reranker
from server.sampling.sampler import Sampler
from server.state_cache.encoding import SnapshotCodec
from server.tokenizer.base import Tokenizer
from server.tokenizer.load import load_tokenizer


@dataclass(frozen=True)
class BuiltEngine:
    """An engine and how it came to be."""

    engine: Engine
    codec: SnapshotCodec
    dtype: str
    threads: int
    load_seconds: float
    compile_seconds: float


@dataclass(frozen=True)
class Loading:
    """How weights are loaded."""

    dtype: str
    team: Team
    cache: WeightsCache | None
    on_progress: OnProgress


def build_engine(
    files: ModelFiles,
    dtype: str,
    settings: EngineSettings,
    threads: int,
    on_progress: OnProgress,
    adapters: Iterable[str] = (),
    states: Mapping[str, str] = MappingProxyType({}),
    make_cache: Callable[[SnapshotCodec], PrefixCache] = lambda _: PrefixCache(None),
    reranker: str = "",
) -> BuiltEngine:
    """Load the model, compile its kernels; adapters and states are those of open_parts.

    `reranker` is a file that scores the states of an embedding model, if any.

    Raises CheckpointError or TokenizerError.
    """
    started = time.monotonic()
    checkpoint, config, initial_states = open_parts(files.checkpoint, adapters, states)
    other = open_reranker(Path(reranker), config, files.checkpoint) if reranker else None
    spec = choose_tokenizer(files, config.vocab_size)
    tokenizer = load_tokenizer(spec, config.vocab_size, files.eos_token)
    weight_type = choose_dtype(dtype, config)
    team = Team(threads)
    loading = Loading(dtype, team, _weights_cache(settings), on_progress)
    weights = load(checkpoint, config, weight_type, team, loading.cache, on_progress)
    scoring = _load_reranker(other, loading) if other else None
    loaded = time.monotonic()
    on_progress(f"preparing {weight_type} kernels (compiled once for each CPU)", 0, 0)
    step_tokens = max(settings.step_tokens, settings.max_batch)
    model = Model(config, weights.weights, team, step_tokens, settings.max_batch)
    model.compile()
    fingerprint = state_fingerprint(weights, initial_states, threads)
    codec = SnapshotCodec(fingerprint, config.state_shapes, config.vocab_size)
    prefixes = make_cache(codec)
    scheduler = Scheduler(model.max_rows, model.max_tokens, prefixes, settings.step_seconds)
    runner = _runner(model, initial_states, prefixes, tokenizer, scoring)
    engine = Engine(scheduler, runner, OutputProcessor(tokenizer), prefixes, codec)
    return BuiltEngine(
        engine, codec, weight_type, threads, loaded - started, time.monotonic() - loaded
    )


def _runner(
    model: Model,
    initial_states: Mapping[str, StateArrays],
    prefixes: PrefixCache,
    tokenizer: Tokenizer,
    reranker: Reranker | None,
) -> ModelRunner:
    vocab_size = model.config.vocab_size
    sampler = Sampler(vocab_size, model.team)
    grammars = GrammarRows(GrammarCompiler(tokenizer, vocab_size))
    runner = ModelRunner(model, sampler, initial_states, prefixes, tokenizer, grammars, reranker)
    runner.compile()
    return runner


def _weights_cache(settings: EngineSettings) -> WeightsCache | None:
    limit, thorough = settings.weights_cache_bytes, settings.weights_check == "full"
    return WeightsCache(cache_root() / "weights", limit, thorough) if limit else None


def _load_reranker(file: RerankerFile, loading: Loading) -> Reranker:
    """With weights of the type that was asked for, as the model's."""
    weight_type = choose_dtype(loading.dtype, file.config)
    weights = load(
        file.checkpoint, file.config, weight_type, loading.team, loading.cache, loading.on_progress
    ).weights
    return Reranker(Model(file.config, weights, loading.team, ROWS, ROWS), file.layers)
