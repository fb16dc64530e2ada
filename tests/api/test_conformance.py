"""docs/api.md says what the code does, also of fields that a newer official client brings."""

import pytest

from tests.api.conformance import ENDPOINTS, IGNORED, page, status_of
from tests.e2e.server_process import ROOT


def test_the_page_is_that_of_the_code() -> None:
    again = "run: python -m tests.api.conformance > docs/api.md"
    assert (ROOT / "docs" / "api.md").read_text() == page(), again


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_field_of_the_official_client_is_known_refused_or_ignored_for_a_reason(
    path: str,
) -> None:
    assert all(status_of(path).values())


def test_nothing_is_listed_as_ignored_without_need() -> None:
    assert {name for path in ENDPOINTS for name in status_of(path)} >= set(IGNORED)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_field_is_described(path: str) -> None:
    ours, _ = ENDPOINTS[path]
    assert not [name for name, field in ours.model_fields.items() if not field.description]
