"""What every refused file must look like to the user."""

import contextlib

import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint


def assert_refused(path, match=None):
    """Opening raises CheckpointError: one short printable line that names the file."""
    with pytest.raises(CheckpointError, match=match) as error:
        open_checkpoint(path)
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 700
    assert path.name in message


def read_all(path):
    """Read a damaged file to the end, if it is not refused: nothing else may happen."""
    with contextlib.suppress(CheckpointError):
        for tensor in open_checkpoint(path).tensors.values():
            assert tensor.to_float32().shape == tensor.shape
