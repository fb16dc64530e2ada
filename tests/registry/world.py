"""A manager of models over fake workers, and what drives it."""

import asyncio

from server.checkpoints.checkpoint import CheckpointError
from server.config import Settings
from server.protocol.task import Task
from server.registry.manager import ModelManager
from server.sampling.params import SamplingParams
from tests.fakes import PATIENCE, FakeWorkers, fake_model

PARAMS = SamplingParams(max_tokens=5, seed=1)
MODELS = {
    "org/a": {"aliases": ["a"], "states": {"poet": "p"}},
    "late": {"preload": False},
}


class World:
    """A manager over fake workers; what `make` holds goes to the next ones."""

    def __init__(self, models=MODELS, shutdown_seconds=PATIENCE, max_requests=9):
        self.settings = Settings.model_validate(
            {
                "model": {"name": "main"},
                "models": models,
                "http": {"shutdown_seconds": shutdown_seconds},
                "limits": {"max_requests": max_requests},
            }
        )
        self.make = {"hold_after": 0}
        self.workers = []
        self.broken = ""
        self.manager = ModelManager(self.settings, self.make_workers, self.open_model)

    def make_workers(self, spec, _, client):
        self.workers.append(FakeWorkers(spec, client, **self.make))
        return self.workers[-1]

    def open_model(self, spec):
        if self.broken:
            raise CheckpointError(self.broken)
        return fake_model(spec)

    async def start(self):
        self.manager.open()
        await self.manager.start()
        return self


def run(scenario):
    async def bounded():
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(bounded())


def submit(manager, name):
    with manager.lease(name) as route:
        return route, route.submit(Task([1], PARAMS))


async def turns(count=20):
    """Let everything happen that waits for nothing from outside."""
    for _ in range(count):
        await asyncio.sleep(0)
