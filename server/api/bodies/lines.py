"""Lines of batches are bounded as the bodies are that they have."""

from server.api.bodies.parse import check, max_numbers
from server.api.errors import ApiError
from server.batches.lines import Check, InvalidLineError
from server.config import Settings

_HEAD_VALUES = 16
"""What a line may have besides those of its body; the endpoint counts these itself."""
_CODES = {"request_too_large": "line_too_large", "invalid_json": "invalid_json_line"}


def line_check(settings: Settings) -> Check:
    """Refuses lines with more in them than a body of the endpoint may have."""
    most = settings.http.max_body_values + _HEAD_VALUES

    def check_line(text: bytes) -> None:
        try:
            check(text, most, max_numbers(settings), "The line")
        except ApiError as error:
            raise InvalidLineError(_CODES[error.code], error.detail) from None

    return check_line
