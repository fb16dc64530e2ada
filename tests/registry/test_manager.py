import asyncio

import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.config import SettingsError
from server.pool.client import NotReadyError, QueueFullError
from server.pool.process import WorkerError
from server.protocol.task import Task
from server.registry.hosted_model import ModelConflictError
from server.registry.manager import NotLoadedError, StoppingError, UnknownModelError
from tests.registry.world import PARAMS, World, run, submit, turns


def test_names_lead_to_their_workers():
    async def scenario():
        world = await World().start()
        main, a = world.workers
        for name, ident, state, workers in [
            ("", "main", "", main),
            ("main", "main", "", main),
            ("org/a", "org/a", "", a),
            ("a", "org/a", "", a),
            ("org/a:poet", "org/a:poet", "poet", a),
            ("a:poet", "org/a:poet", "poet", a),
        ]:
            route, _ = submit(world.manager, name)
            assert (route.id, route.initial_state) == (ident, state)
            assert workers.worker.generated[-1].task.initial_state == state
        assert (len(main.worker.generated), len(a.worker.generated)) == (2, 4)
        assert world.manager.deployments.active_requests == 6

    run(scenario)


@pytest.mark.parametrize("name", ["b", "a:x", ":poet", "org", "a:", "A", "main:poet"])
def test_unknown_names(name):
    async def scenario():
        world = await World().start()
        with pytest.raises(UnknownModelError, match="does not exist; this server has 'main'"):
            submit(world.manager, name)

    run(scenario)


def test_few_of_many_models_are_told():
    async def scenario():
        manager = World({f"m{i}": {"preload": False} for i in range(50)}).manager
        with pytest.raises(UnknownModelError) as caught:
            manager.find("x" * 999)
        assert "'m3', …" in str(caught.value)
        assert len(str(caught.value)) < 400

    run(scenario)


def test_the_limit_of_requests_is_that_of_all_models():
    async def scenario():
        world = await World(max_requests=2).start()
        for _ in range(1 + world.settings.batch_requests):  # those of batches come on top
            submit(world.manager, "main")
        submit(world.manager, "a")
        for name in ("main", "a"):
            with pytest.raises(QueueFullError):
                submit(world.manager, name)

    run(scenario)


def test_what_is_preloaded_loads_one_after_another():
    async def scenario():
        world = World()
        manager = world.manager
        gate = world.make["gate"] = asyncio.Event()
        manager.open()
        starting = asyncio.create_task(manager.start())
        await turns()
        assert [each.spec.id for each in world.workers] == ["main"]
        world.workers[0].worker.client.detail = "compiling"
        assert manager.waiting_for == "compiling"
        for name, why in (("main", "compiling"), ("a", "waiting to be loaded")):
            with pytest.raises(NotReadyError, match=why):
                submit(manager, name)
        with pytest.raises(NotLoadedError, match="/v1/admin/models/load"):
            submit(manager, "late")
        with pytest.raises(ModelConflictError, match="starting"):
            await manager.load("late", {})
        gate.set()
        await starting
        assert [each.spec.id for each in world.workers] == ["main", "org/a"]
        assert (manager.started, manager.waiting_for) == (True, "")

    run(scenario)


def test_a_preload_that_fails_is_an_error_and_leaves_no_workers():
    async def scenario():
        world = World()
        world.make["start_error"] = WorkerError("no memory", exit_code=2)
        with pytest.raises(WorkerError, match="no memory"):
            await world.start()
        assert world.workers[0].stopped
        assert not world.manager.started

    run(scenario)


def test_load_and_unload():
    async def scenario():
        world = await World().start()
        manager = world.manager
        model = await manager.load("late", {"dtype": "int8"})
        assert (model.state, model.loads) == ("ready", 1)
        assert world.workers[-1].spec.dtype == "int8"
        submit(manager, "late")
        with pytest.raises(ModelConflictError, match="is loaded"):
            await manager.load("late", {})
        world.workers[-1].worker.release()
        await manager.unload("late")
        assert (model.state, world.workers[-1].stopped) == ("available", True)
        for change in (manager.unload, manager.reload):
            with pytest.raises(ModelConflictError, match="not loaded"):
                await change("late")
        assert manager.models["org/a"].state == "ready"

    run(scenario)


def test_a_new_model_needs_a_path_and_a_free_name():
    async def scenario():
        manager = (await World().start()).manager
        with pytest.raises(UnknownModelError):
            await manager.load("new", {})
        with pytest.raises(SettingsError, match="unique"):
            await manager.load("new", {"path": "x", "aliases": ["a"]})
        assert "new" not in manager.models
        model = await manager.load("new", {"path": "", "aliases": ["n"]})
        assert manager.find("n") == (model, "")

    run(scenario)


def test_a_new_model_that_cannot_be_loaded_is_forgotten():
    async def scenario():
        world = await World().start()
        world.broken = "x.pth: no such file"
        with pytest.raises(CheckpointError, match=r"x\.pth"):
            await world.manager.load("new", {"path": "x.pth"})
        assert "new" not in world.manager.models
        with pytest.raises(CheckpointError):
            await world.manager.load("late", {"dtype": "int4"})
        late = world.manager.models["late"]
        assert (late.state, late.detail) == ("failed", "x.pth: no such file")
        assert late.entry.options.dtype == "auto"
        world.broken = ""
        await world.manager.load("late", {})
        assert late.detail == ""

    run(scenario)


def test_a_reload_lets_running_requests_finish_on_the_old_workers():
    async def scenario():
        world = await World().start()
        manager = world.manager
        old = world.workers[0]
        with manager.lease("main") as route:
            stream = route.submit(Task([1], PARAMS))
            await manager.reload("main")
            new = world.workers[-1]
            submit(manager, "main")
            assert (len(old.worker.generated), len(new.worker.generated)) == (1, 1)
            await turns()
            assert not old.stopped
            assert manager.deployments.active_requests_of("main") == 2
            old.worker.release()
            text = "".join([output.text async for output in stream])
        assert text == "Hello, wörld"
        await turns()
        assert old.stopped
        assert not new.stopped
        assert manager.models["main"].loads == 2

    run(scenario)


def test_a_request_that_is_still_being_encoded_keeps_its_workers():
    async def scenario():
        world = await World().start()
        with world.manager.lease("main") as route:
            await world.manager.reload("main")
            await turns()
            route.submit(Task([1], PARAMS))
        assert len(world.workers[0].worker.generated) == 1

    run(scenario)


def test_requests_that_outlast_the_grace_are_ended():
    async def scenario():
        world = await World(shutdown_seconds=0.01).start()
        with world.manager.lease("main") as route:
            stream = route.submit(Task([1], PARAMS))
            await world.manager.unload("main")
            (output,) = [output async for output in stream]
        assert (output.finish_reason, output.error) == ("error", "the model 'main' was unloaded")
        assert world.workers[0].stopped

    run(scenario)


def test_while_a_model_is_unloaded_it_takes_nothing():
    async def scenario():
        world = await World().start()
        manager = world.manager
        with manager.lease("a"):
            unloading = asyncio.create_task(manager.unload("a"))
            await turns()
            assert manager.models["org/a"].state == "unloading"
            with pytest.raises(NotLoadedError):
                submit(manager, "a")
            for change in (manager.unload("a"), manager.reload("a"), manager.load("a", {})):
                with pytest.raises(ModelConflictError, match="being loaded or unloaded"):
                    await change
        await unloading

    run(scenario)


@pytest.mark.parametrize("broken", ["files", "workers"])
def test_a_reload_that_fails_leaves_the_old_one(broken):
    async def scenario():
        world = await World().start()
        if broken == "files":
            world.broken = "main: gone"
        else:
            world.make["start_error"] = WorkerError("main: gone", exit_code=2)
        with pytest.raises((CheckpointError, WorkerError), match="main: gone"):
            await world.manager.reload("main")
        model = world.manager.models["main"]
        assert (model.state, model.detail) == ("ready", "main: gone")
        submit(world.manager, "main")
        assert len(world.workers[0].worker.generated) == 1
        assert all(each.stopped for each in world.workers[2:])

    run(scenario)


def test_files_that_change_during_the_load_are_an_error(tmp_path):
    async def scenario():
        world = await World({"late": {"path": str(tmp_path), "preload": False}}).start()
        gate = world.make["gate"] = asyncio.Event()
        loading = asyncio.create_task(world.manager.load("late", {}))
        while len(world.workers) < 2:
            await asyncio.sleep(0)
        (tmp_path / "more").touch()
        gate.set()
        with pytest.raises(CheckpointError, match="changed while it was loaded"):
            await loading
        assert world.workers[-1].stopped

    run(scenario)


def test_a_model_whose_workers_fail_makes_the_server_unready():
    async def scenario():
        world = await World().start()
        assert world.manager.waiting_for == ""
        client = world.workers[1].worker.client
        client.close("they end again and again")
        assert world.manager.waiting_for == "org/a: they end again and again"
        submit(world.manager, "main")
        with pytest.raises(NotReadyError, match="again and again"):
            submit(world.manager, "a")
        client.open()
        assert world.manager.waiting_for == ""

    run(scenario)


def test_stopping_gives_up_a_load_and_ends_all_workers():
    async def scenario():
        world = await World().start()
        world.make["gate"] = asyncio.Event()  # never opened
        loading = asyncio.create_task(world.manager.load("late", {}))
        while len(world.workers) < 3:
            await asyncio.sleep(0)
        world.manager.close()
        with pytest.raises(StoppingError):
            await loading
        with pytest.raises(ModelConflictError, match="stopping"):
            await world.manager.unload("a")
        del world.make["gate"]
        with world.manager.lease("a"):
            await world.manager.models["org/a"].reload()  # the old workers wait for the lease
            assert len([each for each in world.workers if not each.stopped]) == 3
            await world.manager.stop()
        assert all(each.stopped for each in world.workers)

    run(scenario)
