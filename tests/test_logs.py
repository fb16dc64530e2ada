import json
import logging

import pytest

from server.config import LoggingSettings
from server.logs import request_id, setup_logging


@pytest.fixture(autouse=True)
def root_logger():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_lines_for_people(capsys):
    setup_logging(LoggingSettings(level="info", format="human"))
    request_id.set("req_1")
    logging.getLogger("server.api").info("hello %d", 5)
    logging.getLogger("server.api").debug("too quiet")
    request_id.set("")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("INFO    api  hello 5  [req_1]")


def test_json_lines_keep_one_line_each(capsys):
    setup_logging(LoggingSettings(level="warning", format="json"))
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("server.x").exception("it broke\nhere")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"]) == ("error", "server.x")
    assert entry["message"] == "it broke\nhere"
    assert "ValueError: two\nlines" in entry["exception"]
    assert "request_id" not in entry
