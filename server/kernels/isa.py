"""Which instructions the integer kernels may use: told by the CPU's features, not by its name."""

import os
import sys

import llvmlite.binding as llvm

TIERS = ("avx512vnni", "avxvnni", "avx2", "portable")
"""Best first. All give the same bits: the sums are exact."""

VARIABLE = "RWKV_ISA"
"""Environment variable that forces a tier that the CPU has, for tests and for comparison."""

# Alternatives of features. AVX-512 has the instruction of AVX-VNNI, too.
_NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "avx512vnni": (("avx512vnni", "avx512bw"),),
    "avxvnni": (("avxvnni", "avx2"), ("avx512vnni", "avx512vl")),
    "avx2": (("avx2",),),
    "portable": ((),),
}


def available_tiers() -> list[str]:
    """The tiers that this CPU can run, best first."""
    features = llvm.get_host_cpu_features()

    def has(tier: str) -> bool:
        return any(all(features.get(need) for need in needs) for needs in _NEEDS[tier])

    return [tier for tier in TIERS if has(tier)]


def choose_tier() -> str:
    """The best tier, or the one that the environment forces.

    This is asked when kernels are imported, so what the CPU has not ends the process with one line.
    """
    available = available_tiers()
    forced = os.environ.get(VARIABLE)
    if not forced:
        return available[0]
    if forced not in available:
        print(f"error: {VARIABLE}={forced}: this CPU has {', '.join(available)}", file=sys.stderr)
        raise SystemExit(2)
    return forced
