"""Running other programs to their end."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


class ProgramError(RuntimeError):
    """One line that names the program and the last that it said."""


def run(command: Sequence[object], environment: Mapping[str, str] | None = None) -> str:
    """Run from the root of the repository to the end and return standard output.

    Raises ProgramError when the program fails.
    """
    arguments = [str(argument) for argument in command]
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise ProgramError(f"{' '.join(arguments)}: {last_line(done.stderr or done.stdout)}")
    return done.stdout


def last_line(text: str) -> str:
    """The last line that is not blank, for an error message."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"
