"""What the files with the answers of a batch have in their lines."""

import secrets
from typing import Any

from server.batches.lines import LineReader
from server.json_pieces import JsonDocument, encode_pieces
from server.stores.batches.database import FAILURES
from server.stores.batches.records import Answer, Batch
from server.stores.batches.store import BatchStore

_NOT_COMPUTED = {
    "expired": "The request was not computed before the batch expired",
    "cancelled": "The request was not computed before the batch was cancelled",
}


def answered(custom_id: str, answer: Answer) -> bytes:
    """The line of a request that was answered, with an error or without; it may be long."""
    response = {
        "status_code": answer.status_code,
        "request_id": answer.request_id,
        "body": JsonDocument(answer.body),
    }
    return _line(custom_id, response, None)


def write_files(store: BatchStore, reader: LineReader, batch: Batch) -> Batch:
    """End a batch: make files of its answers, and say of which requests there is none.

    Waits for the disk; raises NoRoomError, BatchesUnavailableError, and what reading the input
    raises.
    """
    with store.files.draft() as output, store.files.draft() as errors:
        with FAILURES.of_system(output.path):
            output.file.writelines(store.results(batch.id, are_failures=False))
            errors.file.writelines(store.results(batch.id, are_failures=True))
        if batch.total and (message := _NOT_COMPUTED.get(batch.ending)):
            error = {"code": f"batch_{batch.ending}", "message": message}
            path = store.path(batch)
            for place in reader.missing(path, store.done_lines(batch.id)):
                line = reader.read(path, place)
                with FAILURES.of_system(errors.path):
                    errors.file.write(_line(line.custom_id, None, error))
        with FAILURES.of_system(output.path):
            output.sync()
            errors.sync()
        return store.finish(batch, output, errors)


def _line(custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    ident = f"batch_req_{secrets.token_hex(16)}"
    content = {"id": ident, "custom_id": custom_id, "response": response, "error": error}
    return b"".join((*encode_pieces(content), b"\n"))
