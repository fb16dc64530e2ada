"""What stored data depends on besides its inputs: numbers that change when bits do.

tests/model/test_revisions.py computes the bits of every architecture and weight type. When it fails
because arithmetic or packing was changed on purpose, raise the number that it names and put the new
bits beside it; nothing else makes states of users and packed weights those of an earlier version.
"""

ARITHMETIC_REVISION = 1
"""Of what the forward pass computes from the same packed weights."""

PACKING_REVISION = 1
"""Of the bytes that the same checkpoint is packed into."""

FINGERPRINT_MARK = "-"
"""In a state's fingerprint, between the name of the weights and that of the arithmetic."""
