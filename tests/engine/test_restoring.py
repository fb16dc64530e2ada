"""What one engine has cached another one goes on from: by way of the disk, with the same bytes."""

import threading

import numpy as np

from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.state_cache.disk_store import DiskStore
from server.state_cache.encoding import SnapshotCodec
from server.state_cache.state_cache import StateCache
from server.state_cache.tiers import SnapshotTiers
from tests.engine.test_engine import build, params

ROOM = 64 << 20
SHAPES = {"shift": (2, 2, 48), "wkv": (2, 3, 16, 16)}
TEXT = [int(t) for t in np.random.default_rng(5).integers(1, 256, 700)]
NO_CACHE = CacheUse(reads=False, writes=False)


class Served:
    """An engine with an empty memory over stores that others have used."""

    def __init__(self, checkpoint, *stores, fingerprint="random"):
        self.tiers = SnapshotTiers(stores, SnapshotCodec(fingerprint, SHAPES, 256))
        self.cache = StateCache(ROOM)
        self.engine, _ = build(checkpoint, cache=self.cache, tiers=self.tiers)

    def ask(self, *prompts, use=None, **changes):
        """(ids, cached tokens) of the answer to each prompt, all at once."""
        for number, prompt in enumerate(prompts):
            self.engine.add(str(number), Task(prompt, params(**changes), use=use or CacheUse()))
        found = {str(number): ([], 0) for number in range(len(prompts))}
        while self.engine.has_work:
            for output in self.engine.step():
                ids, cached = found[output.request_id]
                found[output.request_id] = ids + output.token_ids, cached + output.cached_tokens
        self.cache.check_integrity()
        return list(found.values())

    def stop(self):
        self.engine.close(10)


class Gate:
    """A store that answers only when the gate is open."""

    def __init__(self, store):
        self._store = store
        self.name = store.name
        self.open = threading.Event()
        self.asked = threading.Event()

    @property
    def errors(self):
        return self._store.errors

    def __getattr__(self, name):
        method = getattr(self._store, name)

        def waits(*args):
            self.asked.set()
            assert self.open.wait(20)
            return method(*args)

        return waits


def test_a_conversation_goes_on_after_a_restart(checkpoint, tmp_path):
    history, sizes = TEXT[:40], []
    for turn in range(4):
        served = Served(checkpoint, DiskStore(tmp_path, ROOM))
        ((ids, cached),) = served.ask(history)
        ((cold, _),) = served.ask(history, use=NO_CACHE)
        assert ids == cold
        sizes.append(len(history) - cached)
        history = history + ids + TEXT[40 + turn * 10 : 50 + turn * 10]
        served.stop()
    # All but the new ten tokens and the last one of the answer, which the model has not read.
    assert sizes == [40, 11, 11, 11]


def test_many_at_once_after_a_restart_fetch_and_read_once(checkpoint, tmp_path):
    before = Served(checkpoint, DiskStore(tmp_path, ROOM))
    before.ask(TEXT[:600])
    before.stop()
    served = Served(checkpoint, DiskStore(tmp_path, ROOM))
    prompts = [TEXT[:600] + [7 + n] * 20 for n in range(8)]
    answers = served.ask(*prompts)
    assert [cached for _, cached in answers] == [600] * 8
    assert served.tiers.counters()["disk"].hits == 1
    cold = served.ask(*prompts, use=NO_CACHE)
    assert [ids for ids, _ in answers] == [ids for ids, _ in cold]
    served.stop()


def test_another_model_finds_nothing(checkpoint, tmp_path):
    before = Served(checkpoint, DiskStore(tmp_path, ROOM))
    before.ask(TEXT)
    before.stop()
    served = Served(checkpoint, DiskStore(tmp_path, ROOM), fingerprint="other")
    ((_, cached),) = served.ask(TEXT)
    assert cached == 0
    served.stop()


def test_others_go_on_while_one_waits_for_the_disk(checkpoint, tmp_path):
    gate = Gate(DiskStore(tmp_path, ROOM))
    served = Served(checkpoint, gate)
    engine = served.engine
    engine.add("waits", Task(TEXT, params()))
    short = Task(TEXT[:20], params())  # not worth a question to the disk
    engine.add("goes on", short)
    finished = []
    while "goes on" not in finished:
        finished += [output.request_id for output in engine.step() if output.finish_reason]
    assert finished == ["goes on"]
    assert gate.asked.wait(20)
    engine.add("aborted", Task([*TEXT, 1], params()))
    engine.step()
    engine.abort("aborted")
    gate.open.set()
    while engine.has_work:
        finished += [output.request_id for output in engine.step() if output.finish_reason]
    assert finished == ["goes on", "waits"]
    served.stop()


def test_an_aborted_request_leaves_its_fetch_to_nobody(checkpoint, tmp_path):
    gate = Gate(DiskStore(tmp_path, ROOM))
    served = Served(checkpoint, gate)
    for _ in range(3):
        served.engine.add("gone", Task(TEXT, params()))
        served.engine.step()
        served.engine.abort("gone")
    assert not served.engine.has_work
    served.engine.add("next", Task(TEXT, params()))
    gate.open.set()
    while served.engine.has_work:
        served.engine.step()
    served.stop()
