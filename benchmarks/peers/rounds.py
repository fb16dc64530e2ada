"""Measuring several things in turn, again and again, so that drift meets all of them alike.

A thread that waits for another by spinning loses far more than its share when a third process takes
a core: llama.cpp's prefill on two cores went from 880 tokens/s to 24. So what others used is
measured too, and a disturbed measurement is made again. Which attempt counts is decided by the
disturbance alone, never by the result.
"""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.interference import Interference

Figures = Mapping[str, float]
"""Name of a quantity → its value."""

UNDISTURBED = 0.1
"""Cores that others may use."""


@dataclass(frozen=True)
class Measurement:
    """The figures of one round, and how many cores others used meanwhile."""

    figures: Figures
    others_cores: float


Found = Mapping[str, Sequence[Measurement]]
"""Name of what was measured → a measurement for each round."""


def measure_in_rounds(
    steps: Mapping[str, Callable[[], Figures]], rounds: int, attempts: int
) -> Found:
    """Measure every step once a round, and up to `attempts` times where it is disturbed.

    Every second round goes backwards, so that nothing is always first. Progress is a line on
    standard error for each.
    """
    found: dict[str, list[Measurement]] = {name: [] for name in steps}
    for number in range(rounds):
        names = list(steps)
        for name in reversed(names) if number % 2 else names:
            print(f"round {number + 1}/{rounds}: {name}", end=" ", file=sys.stderr, flush=True)
            measured = _least_disturbed(steps[name], attempts)
            found[name].append(measured)
            shown = (f"{quantity} {value:.1f}" for quantity, value in measured.figures.items())
            others = f"(others used {measured.others_cores:.2f} cores)"
            print(", ".join(shown), others, file=sys.stderr, flush=True)
    return found


def _least_disturbed(step: Callable[[], Figures], attempts: int) -> Measurement:
    """The first undisturbed attempt, or else the least disturbed of all."""
    made: list[Measurement] = []
    for _ in range(attempts):
        interference = Interference()
        figures = step()
        made.append(Measurement(figures, interference.cores()))
        if made[-1].others_cores <= UNDISTURBED:
            break
    return min(made, key=lambda each: each.others_cores)


def summary(found: Found, pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
    """For the JSON: medians, ratios, and the most that others used during each measurement."""
    return {
        "medians": medians(found),
        "ratios": ratios(found, pairs),
        "others_cores": {
            name: round(max(each.others_cores for each in rounds), 2)
            for name, rounds in found.items()
        },
    }


def medians(found: Found) -> dict[str, dict[str, float]]:
    """Name → quantity → median over the rounds, to one decimal."""
    return {
        name: {
            quantity: round(statistics.median(each.figures[quantity] for each in rounds), 1)
            for quantity in rounds[0].figures
        }
        for name, rounds in found.items()
    }


def ratios(found: Found, pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, float]]:
    """ "A / B" → quantity → median over the rounds of A's value divided by B's in that round.

    Pairs of which one was not measured are left out.
    """
    result: dict[str, dict[str, float]] = {}
    for first, second in pairs:
        if first in found and second in found:
            both = list(zip(found[first], found[second], strict=True))
            result[f"{first} / {second}"] = {
                name: round(
                    statistics.median(a.figures[name] / b.figures[name] for a, b in both), 2
                )
                for name in found[first][0].figures
            }
    return result
