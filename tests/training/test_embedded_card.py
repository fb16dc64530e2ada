"""The model that the package carries: its card, its size, and where its text comes from."""

import json
from pathlib import Path

import pytest

from server.checkpoints.locate import EMBEDDED

pytest.importorskip("torch", reason="training needs the train extra")
pytest.importorskip("matplotlib", reason="training needs the train extra")

from training.batches import CHAT_SHARES, TEXT_SHARES
from training.card import SOURCES, write_card
from training.cli import REPORT
from training.evaluate import SAMPLED, Report
from training.export import LARGEST, load_exported, read_history

SOURCES_FILE = Path(__file__).parents[3] / "shared" / "data" / "SOURCES.md"


@pytest.fixture(scope="module")
def report() -> Report:
    return Report(**json.loads((EMBEDDED / REPORT).read_text(encoding="utf-8")))


def test_the_card_says_what_was_measured(report: Report, tmp_path: Path) -> None:
    write_card(report, load_exported(EMBEDDED).config, tmp_path / "card")
    card = (EMBEDDED / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card == (tmp_path / "card").read_text(encoding="utf-8")


def test_what_was_measured_is_the_model_that_is_there(report: Report) -> None:
    history = read_history(EMBEDDED)
    assert report.tokens_seen == int(history["tokens"]) > 0
    assert report.seconds == round(history["seconds"])
    assert report.parameters == sum(p.numel() for p in load_exported(EMBEDDED).parameters())


def test_it_is_small_and_has_been_asked_enough(report: Report) -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) <= LARGEST
    assert sum(of for _, of in report.scripted.values()) == 300
    assert report.loops["at 0.8"][1] == SAMPLED == 1000


def test_every_source_has_a_licence() -> None:
    named = {name.strip() for names, _, _ in SOURCES for name in names.split(",")}
    assert named >= TEXT_SHARES.keys() | CHAT_SHARES.keys()
    assert all(source and licence for _, source, licence in SOURCES)


@pytest.mark.skipif(not SOURCES_FILE.is_file(), reason="needs ../shared/data")
def test_every_source_is_one_of_the_data() -> None:
    known = SOURCES_FILE.read_text(encoding="utf-8")
    for names, _, _ in SOURCES[:-1]:
        for name in names.split(", "):
            assert name in known, name
