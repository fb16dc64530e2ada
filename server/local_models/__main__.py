"""`python -m server.local_models`: program.py, behind what it takes long to import."""

import sys

from server.launch import launch

if __name__ == "__main__":
    sys.exit(launch("server.local_models.program", sys.argv[1:]))
