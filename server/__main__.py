"""`python -m server` is `rwkv-server`."""

import sys

from server.launch import launch


def main() -> None:
    """Run a command; the entry point of the installed program."""
    sys.exit(launch("server.cli"))


if __name__ == "__main__":
    main()
