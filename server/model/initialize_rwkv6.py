"""How RWKV-6 starts: RWKV-LM, RWKV-v5/src/model.py (RWKV_Tmix_x060, generate_init_weight)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from server.model.initial_values import Draws, Place, Recipe, time_decay, time_mix, uniform
from server.model.initialize_rwkv5 import GAINS, bonus


def _vector(place: Place, draws: Draws) -> npt.NDArray[Any]:
    if place.kind.endswith("_w1"):
        return np.zeros(place.shape, np.float32)
    if place.kind.endswith("_w2"):
        return uniform(draws, place.shape, 0.01)
    if place.kind == "att.time_decay":
        return time_decay(place, -6, 5)
    if place.kind == "att.time_faaaa":
        return bonus(place)
    return 1 - time_mix(place)  # from here on the share of the previous token is stored


RECIPE = Recipe(embedding=1e-4, gains=GAINS, tall_gains=False, vector=_vector)
"""The official initialisation of RWKV-6."""
