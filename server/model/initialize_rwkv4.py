"""How RWKV-4 starts: RWKV-LM, RWKV-v4neo/src/model.py (RWKV_TimeMix, generate_init_weight).

The embedding's limit is the learning rate there, of which train.py's default is taken.
"""

import math

from server.model.initial_values import Doubles, Draws, Place, Recipe, thirds, time_decay, time_mix


def _vector(place: Place, _: Draws) -> Doubles:
    if place.kind == "att.time_decay":
        return time_decay(place, -5, 8)
    if place.kind == "att.time_first":
        return math.log(0.3) + 0.5 * thirds(place.config.dim)
    return time_mix(place)


RECIPE = Recipe(
    embedding=6e-4,
    gains={
        "att.receptance.weight": 0.0,
        "att.key.weight": 0.0,
        "att.value.weight": 1.0,
        "att.output.weight": 0.0,
        "ffn.key.weight": 1.0,
        "ffn.receptance.weight": 0.0,
        "ffn.value.weight": 0.0,
    },
    tall_gains=True,
    vector=_vector,
)
"""The official initialisation of RWKV-4."""
