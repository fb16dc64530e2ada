"""How RWKV-5.0, 5.1 and 5.2 start.

5.0 and 5.1 as in the RWKV-v4neo/src/model.py of autumn 2023 (RWKV_TimeMix_RWKV5_Preview and
generate_init_weight, RWKV_MY_TESTING r2 and r3), whose train.py has the learning rate that limits
the embedding; 5.2 as in RWKV-v5/src/model.py (RWKV_Tmix_x052). Both are of RWKV-LM.
"""

import math

import numpy as np

from server.model.initial_values import (
    Doubles,
    Draws,
    Place,
    Recipe,
    ramp,
    thirds,
    time_decay,
    time_mix,
)

_FIRST = math.exp(-3.0)  # 5.0 has the logarithm of the bonus, in a tensor called time_first


def _vector(place: Place, _: Draws) -> Doubles:
    if place.kind == "att.time_decay":
        return time_decay(place, -6, 5)
    if place.kind == "att.time_faaaa":
        return bonus(place)
    return time_mix(place)


def bonus(place: Place) -> Doubles:
    """What the current token counts more: one value a head before 5.2, then one a channel."""
    config = place.config
    if config.generation == "rwkv5.0":
        return np.full(place.shape, _FIRST)
    if place.shape == (config.heads,):
        return place.depth * (1 - ramp(config.heads))
    return place.depth * (1 - ramp(config.dim)) + 0.1 * thirds(config.dim)


GAINS = {
    "att.receptance.weight": 1.0,
    "att.key.weight": 0.1,
    "att.value.weight": 1.0,
    "att.gate.weight": 0.1,
    "att.output.weight": 0.0,
    "ffn.key.weight": 1.0,
    "ffn.receptance.weight": 0.0,
    "ffn.value.weight": 0.0,
}
"""Gains of the matrices of RWKV-5.2 and 6."""

PER_HEAD_RECIPE = Recipe(
    embedding=6e-4,
    gains=GAINS | {"att.key.weight": 1.0, "att.gate.weight": 1.0},
    tall_gains=True,
    vector=_vector,
)
"""The official initialisation of RWKV-5.0 and 5.1."""

RECIPE = Recipe(embedding=1e-4, gains=GAINS, tall_gains=False, vector=_vector)
"""The official initialisation of RWKV-5.2."""
