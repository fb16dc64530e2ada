"""Which instructions kernels may use: told by the CPU's features, not by its name."""

import os
import sys
from typing import NamedTuple

import llvmlite.binding as llvm

TIERS = ("avx512vnni", "avxvnni", "avx2", "portable")
"""Best first."""

VARIABLE = "RWKV_ISA"
"""Environment variable that forces a tier that the CPU has, for tests and for comparison."""

# Alternatives of features. AVX-512 has the instruction of AVX-VNNI, too.
_NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "avx512vnni": (("avx512vnni", "avx512bw", "avx512vl"),),
    "avxvnni": (("avxvnni", "avx2", "fma"), ("avx512vnni", "avx512vl")),
    "avx2": (("avx2", "fma", "f16c"),),
    "portable": ((),),
}

_AVX512 = ("f", "bw", "dq", "vl", "cd", "vnni")


class Target(NamedTuple):
    """What LLVM compiles for: a CPU's name and features; empty is the CPU it runs on."""

    cpu: str
    features: str
    has_fma: bool
    """Whether a fused multiply-add is an instruction, not a slow call."""
    has_half: bool
    """Whether there is an instruction that makes float32 of float16."""


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


def choose_target(tier: str) -> Target:
    """What to compile for: a forced tier gets no instruction that a CPU of that tier lacks."""
    features = llvm.get_host_cpu_features()
    is_x86 = "x86_64" in llvm.get_process_triple()
    if tier == available_tiers()[0]:
        has_fma, has_half = (not is_x86 or features.get(name, False) for name in ("fma", "f16c"))
        return Target("", "", has_fma, has_half)
    if tier == "portable":
        return Target("x86-64", "", False, False)
    if tier == "avx2" or features.get("avxvnni"):
        return Target("haswell", "+avxvnni" if tier == "avxvnni" else "", True, True)
    wide = ",".join(f"+avx512{name}" for name in _AVX512)
    return Target("haswell", f"{wide},+prefer-256-bit", True, True)
