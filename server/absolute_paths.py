"""What the user names in the working directory, in full: child programs have another directory."""

from server.checkpoints.hub import is_on_hub
from server.home_folder import expanded
from server.model_names import split_adapter

_TOKENIZERS = ("", "world", "bytes")
"""What is not a file where a tokenizer is named."""


def absolute_path(text: str) -> str:
    """A path in full, from the home folder for `~`; links and `..` stay."""
    return str(expanded(text).absolute())


def absolute_model(text: str) -> str:
    """A model's path in full; a name on the Hub and the embedded model's "" as they are."""
    return absolute_path(text) if text and not is_on_hub(text) else text


def absolute_tokenizer(text: str) -> str:
    """What names a tokenizer: its file in full, or the kind that it is."""
    return text if text in _TOKENIZERS else absolute_path(text)


def absolute_adapter(text: str) -> str:
    """FILE or FILE:ALPHA with the file in full; what is neither as it is."""
    try:
        file, _ = split_adapter(text)
    except ValueError:
        return text
    return absolute_path(file) + text.removeprefix(file)
