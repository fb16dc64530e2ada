"""The description at /openapi.json is true: what it allows is answered as it says."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from server.api.access import OPEN_PATHS
from server.api.errors import ERRORS
from server.api.examples import EXAMPLES
from tests.api.harness import Harness

pytestmark = pytest.mark.anyio

LIMITS = {"max_output_tokens": 50, "default_output_tokens": 50}
OUTSIDE_OF_SCHEMAS = [positive_data_acceptance]
"""Fields that exclude each other, ids that do not exist, and texts without tokens are refused, and
a schema has no words for them."""


def harness(folder: Path) -> Harness:
    """An API that keeps all that it can keep, and whose model knows all that one can know."""
    kept = {name: {"directory": str(folder / name)} for name in ("states", "responses", "batches")}
    return Harness({**kept, "limits": LIMITS, "model": {"fill_in_middle": "on"}})


def operations_of(description: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Path and method → operation."""
    return {
        (path, method): operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """An item for each operation."""
    if "label" in metafunc.fixturenames:
        found = operations_of(Harness().app.openapi())
        metafunc.parametrize("label", [f"{method.upper()} {path}" for path, method in found])


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return harness(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def description(api: Harness) -> dict[str, Any]:
    return api.app.openapi()


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with harness(tmp_path).http() as client:
        yield client


def test_answers_are_as_described(api: Harness, label: str) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", api.app)
    found = (result.ok() for result in schema.get_all_operations())
    operation = next(each for each in found if each.label == label)

    @given(case=operation.as_strategy())
    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=OUTSIDE_OF_SCHEMAS)

    check()


def test_every_operation_has_a_name_a_summary_and_ways_to_fail(
    description: dict[str, Any],
) -> None:
    operations = operations_of(description)
    names = [operation["operationId"] for operation in operations.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"\w{3,60}", name) for name in names)
    for (path, _), operation in operations.items():
        assert operation["summary"]
        assert operation["description"]
        assert {"4XX", "5XX"} < operation["responses"].keys()
        assert ("security" in operation) == (path not in OPEN_PATHS)
    codes = description["components"]["schemas"]["ErrorBody"]["properties"]["code"]["enum"]
    assert set(ERRORS) < set(codes)


@pytest.mark.parametrize("path", EXAMPLES)
async def test_examples_are_answered(http: httpx.AsyncClient, path: str) -> None:
    response = await http.post(path, json=EXAMPLES[path])
    assert response.status_code == 200, response.text


def test_every_body_has_an_example(description: dict[str, Any]) -> None:
    bodies = {
        path
        for (path, method), operation in operations_of(description).items()
        if method == "post"
        and "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    others = {path for path in bodies if f"/v1{path}" in EXAMPLES}  # older names of the same
    others |= {"/v2/rerank", "/v1/batches"}
    others |= {path for path in bodies if "{" in path or "/admin/" in path}  # of what is there
    assert bodies - others == set(EXAMPLES)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/v1/chat/completions", "text/event-stream"),
        ("/v1/completions", "text/event-stream"),
        ("/v1/responses", "text/event-stream"),
        ("/v1/messages", "text/event-stream"),
        ("/api/chat", "application/x-ndjson"),
        ("/api/generate", "application/x-ndjson"),
    ],
)
async def test_streams_have_the_type_that_is_described(
    http: httpx.AsyncClient, description: dict[str, Any], path: str, form: str
) -> None:
    response = await http.post(path, json=EXAMPLES[path] | {"stream": True})
    assert response.headers["content-type"].partition(";")[0] == form
    assert form in description["paths"][path]["post"]["responses"]["200"]["content"]
