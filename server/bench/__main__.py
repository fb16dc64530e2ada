"""`python -m server.bench`: program.py, behind what it takes long to import."""

import sys

from server.launch import launch

if __name__ == "__main__":
    sys.exit(launch("server.bench.program", sys.argv[1:]))
