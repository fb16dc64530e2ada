"""Which instructions the integer kernels may use: told by the CPU's features, not by its name."""

import os

import llvmlite.binding as llvm

TIERS = ("avx512vnni", "avxvnni", "avx2", "portable")
"""Best first. All give the same bits: the sums are exact."""

VARIABLE = "RWKV_ISA"
"""Environment variable that forces a tier that the CPU has, for tests and for comparison."""

_NEEDS = {
    "avx512vnni": ("avx512vnni", "avx512bw"),
    "avxvnni": ("avxvnni", "avx2"),
    "avx2": ("avx2",),
    "portable": (),
}


def available_tiers() -> list[str]:
    """The tiers that this CPU can run, best first."""
    features = llvm.get_host_cpu_features()
    return [tier for tier in TIERS if all(features.get(need) for need in _NEEDS[tier])]


def choose_tier() -> str:
    """The best tier, or the one that the environment forces.

    Raises ValueError with one line when the CPU does not have that one.
    """
    available = available_tiers()
    forced = os.environ.get(VARIABLE)
    if not forced:
        return available[0]
    if forced not in available:
        raise ValueError(f"{VARIABLE}={forced}: this CPU has {', '.join(available)}")
    return forced
