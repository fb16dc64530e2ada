import asyncio
import logging

import pytest

from server.config import Settings, SettingsError
from server.pool.process import WorkerError
from server.registry.reconfigure import Rereader, reconfigure
from tests.registry.world import World, run, turns


def settings(models, **sections):
    return Settings.model_validate({"model": {"name": "main"}, "models": models} | sections)


def loads(manager):
    """Id → how often it was loaded."""
    return {ident: model.loads for ident, model in manager.models.items() if model.deployment}


def test_models_come_go_and_change(tmp_path):
    async def scenario():
        changing = tmp_path / "changing"
        changing.mkdir()
        first = {"same": {}, "gone": {}, "other": {}, "files": {"path": str(changing)}}
        world = await World(first | {"late": {"preload": False}}).start()
        (changing / "more").touch()
        second = {"same": {"aliases": ["s"]}, "other": {"dtype": "int8"}, "new": {}}
        second |= {"files": first["files"], "late": {"preload": True}, "later": {"preload": False}}
        await reconfigure(world.manager, settings(second))
        after = {"main": 1, "same": 1, "other": 2, "files": 2, "new": 1, "late": 1}
        assert loads(world.manager) == after
        assert "gone" not in world.manager.models
        assert world.manager.models["later"].state == "available"
        assert world.manager.find("s")[0].entry.id == "same"
        await turns()
        assert world.manager.models["other"].deployment.entry.spec.dtype == "int8"
        assert sum(not each.stopped for each in world.workers) == 6
        await reconfigure(world.manager, settings(second))
        assert loads(world.manager) == after

    run(scenario)


def test_settings_that_contradict_themselves_change_nothing():
    async def scenario():
        world = await World().start()
        before = loads(world.manager)
        with pytest.raises(SettingsError):
            await reconfigure(world.manager, settings({"a": {}, "b": {"aliases": ["a"]}}))
        assert loads(world.manager) == before
        assert list(world.manager.models) == ["main", "org/a", "late"]

    run(scenario)


def test_what_fails_stays_as_it_was_and_is_tried_again(caplog):
    async def scenario():
        world = await World({"a": {}}).start()
        wanted = settings({"a": {"dtype": "int8"}, "b": {}})
        world.make["start_error"] = WorkerError("no memory", exit_code=2)
        await reconfigure(world.manager, wanted)
        assert loads(world.manager) == {"main": 1, "a": 1}
        assert world.manager.models["a"].entry.options.dtype == "auto"
        assert world.manager.models["b"].state == "failed"
        assert [record.getMessage() for record in caplog.records] == [
            "model a: no memory",
            "model b: no memory",
        ]
        del world.make["start_error"]
        await reconfigure(world.manager, wanted)
        assert loads(world.manager) == {"main": 1, "a": 2, "b": 1}

    run(scenario)


def test_the_default_model_changes_when_the_new_one_is_loaded(caplog):
    async def scenario():
        world = await World({}).start()
        other = Settings.model_validate({"model": {"name": "other", "aliases": ["main"]}})
        world.make["start_error"] = WorkerError("no memory", exit_code=2)
        await reconfigure(world.manager, other)
        assert world.manager.default == "main"
        assert loads(world.manager) == {"main": 1}
        assert "model main: stays" in caplog.text
        del world.make["start_error"]
        await reconfigure(world.manager, other)
        assert world.manager.default == "other"
        assert loads(world.manager) == {"other": 1}
        assert world.manager.find("main")[0].entry.id == "other"

    run(scenario)


def test_what_the_operator_did_stays():
    async def scenario():
        world = await World({"a": {}, "b": {"preload": False}}).start()
        await world.manager.unload("a")
        await world.manager.load("b", {})
        await world.manager.load("mine", {"path": ""})
        await reconfigure(world.manager, settings({"a": {}, "b": {"preload": False}}))
        assert loads(world.manager) == {"main": 1, "b": 1, "mine": 1}

    run(scenario)


def test_a_rereader_waits_for_the_start_and_survives_errors(caplog):
    caplog.set_level(logging.INFO)
    readings = [
        SettingsError("server.toml: not valid TOML"),
        ZeroDivisionError("a bug"),
        settings({"a": {}}, engine={"threads": 3}),
    ]
    done = asyncio.Event()

    def read():
        reading = readings.pop(0)
        if not readings:
            done.set()
        if isinstance(reading, Exception):
            raise reading
        return reading

    async def scenario():
        world = World({}, shutdown_seconds=30.0, max_requests=256)
        rereader = Rereader(world.manager, world.settings, read)
        running = asyncio.create_task(rereader.run())
        rereader.wake()
        await turns()
        assert len(readings) == 3
        await world.start()
        await turns()
        while not done.is_set():
            rereader.wake()
            await turns()
        while len(loads(world.manager)) < 2:
            await asyncio.sleep(0)
        running.cancel()

    run(scenario)
    assert "the models stay as they are: server.toml: not valid TOML" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warnings == ["[engine] has changed: it takes effect at the next start"]
