"""Puts an engine together from settings and files."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
from server.model.initial_state import StateArrays
from server.model.loading import OnProgress, WeightsCache, choose_dtype, load
from server.model.model import Model
from server.model.open_parts import open_parts
from server.sampling.sampler import Sampler
from server.snapshots.encoding import SnapshotCodec
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


def build_engine(
    files: ModelFiles,
    dtype: str,
    settings: EngineSettings,
    threads: int,
    on_progress: OnProgress,
    adapters: Iterable[str] = (),
    states: Mapping[str, str] = MappingProxyType({}),
    make_cache: Callable[[SnapshotCodec], PrefixCache] = lambda _: PrefixCache(None),
) -> BuiltEngine:
    """Load the model, compile its kernels; adapters and states are those of open_parts.

    Raises CheckpointError or TokenizerError.
    """
    started = time.monotonic()
    checkpoint, config, initial_states = open_parts(files.checkpoint, adapters, states)
    spec = choose_tokenizer(files, config.vocab_size)
    tokenizer = load_tokenizer(spec, config.vocab_size, files.eos_token)
    weight_type = choose_dtype(dtype, config)
    team = Team(threads)
    limit = settings.weights_cache_bytes
    thorough = settings.weights_check == "full"
    cache = WeightsCache(cache_root() / "weights", limit, thorough) if limit else None
    weights = load(checkpoint, config, weight_type, team, cache, on_progress)
    loaded = time.monotonic()
    on_progress(f"preparing {weight_type} kernels (compiled once for each CPU)", 0, 0)
    step_tokens = max(settings.step_tokens, settings.max_batch)
    model = Model(config, weights.weights, team, step_tokens, settings.max_batch)
    model.compile()
    fingerprint = state_fingerprint(weights, initial_states, threads)
    codec = SnapshotCodec(fingerprint, config.state_shapes, config.vocab_size)
    prefixes = make_cache(codec)
    scheduler = Scheduler(model.max_rows, model.max_tokens, prefixes, settings.step_seconds)
    engine = _assemble(model, tokenizer, initial_states, prefixes, scheduler, codec)
    seconds = loaded - started, time.monotonic() - loaded
    return BuiltEngine(engine, codec, weight_type, threads, *seconds)


def _assemble(
    model: Model,
    tokenizer: Tokenizer,
    initial_states: Mapping[str, StateArrays],
    prefixes: PrefixCache,
    scheduler: Scheduler,
    codec: SnapshotCodec,
) -> Engine:
    sampler = Sampler(model.config.vocab_size, model.team)
    grammars = GrammarRows(GrammarCompiler(tokenizer, model.config.vocab_size))
    runner = ModelRunner(model, sampler, initial_states, prefixes, tokenizer, grammars)
    runner.compile()
    return Engine(
        scheduler,
        runner,
        OutputProcessor(tokenizer),
        prefixes,
        codec,
    )
