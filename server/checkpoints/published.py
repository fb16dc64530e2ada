"""Short names of published models: `g1:1.5b` is a file in a repository on the Hugging Face Hub."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedModel:
    """A checkpoint of RWKV-7 with the World vocabulary, in 16 bits."""

    repo: str
    file: str
    layers: int
    dim: int


_G1, _WORLD = "BlinkDL/rwkv7-g1", "BlinkDL/rwkv-7-world"

PUBLISHED = {
    "g1:0.1b": PublishedModel(_G1, "rwkv7-g1d-0.1b-20260129-ctx8192.pth", 12, 768),
    "g1:0.4b": PublishedModel(_G1, "rwkv7-g1d-0.4b-20260210-ctx8192.pth", 24, 1024),
    "g1:1.5b": PublishedModel(_G1, "rwkv7-g1k-1.5b-20260930-ctx25600.pth", 24, 2048),
    "g1:2.9b": PublishedModel(_G1, "rwkv7-g1k-2.9b-20260930-ctx25600.pth", 32, 2560),
    "g1:7.2b": PublishedModel(_G1, "rwkv7-g1k-7.2b-20260930-ctx25600.pth", 32, 4096),
    "g1:13.3b": PublishedModel(_G1, "rwkv7-g1k-13.3b-20260930-ctx25600.pth", 61, 4096),
    "world:0.1b": PublishedModel(_WORLD, "RWKV-x070-World-0.1B-v2.8-20241210-ctx4096.pth", 12, 768),
    "world:0.4b": PublishedModel(
        _WORLD, "RWKV-x070-World-0.4B-v2.9-20250107-ctx4096.pth", 24, 1024
    ),
    "world:1.5b": PublishedModel(_WORLD, "RWKV-x070-World-1.5B-v3-20250127-ctx4096.pth", 24, 2048),
    "world:2.9b": PublishedModel(_WORLD, "RWKV-x070-World-2.9B-v3-20250211-ctx4096.pth", 32, 2560),
}
"""Short name → the newest checkpoint of that series and size when this table was written."""

_FORM = re.compile(r"\w+:[\d.]+b", re.ASCII | re.IGNORECASE)


def published(name: str) -> PublishedModel | None:
    """The model of a short name, in letters of any case."""
    return PUBLISHED.get(name.lower())


def looks_like_short_name(text: str) -> bool:
    """Whether a text has the form of a short name, known or not."""
    return _FORM.fullmatch(text) is not None
