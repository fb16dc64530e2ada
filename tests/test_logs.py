import json
import logging

from server.config import LoggingSettings
from server.logs import request_id, setup_logging


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


def test_json_lines_hold_nothing_that_others_take_for_a_line_or_a_command(capsys):
    setup_logging(LoggingSettings(format="json"))
    text = "a\u2028b\x85c\x1b[31md\U000e0001\ud800"
    logging.getLogger("server.x").warning("%s", text)
    (line, end) = capsys.readouterr().err.split("\n")
    assert end == ""
    assert line.isprintable()
    assert json.loads(line)["message"] == text
