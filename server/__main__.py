"""`python -m server` is `rwkv-server`."""

import os
import sys

# In the place of the working directory, from which `python -m` imports: the folder of this package,
# until rwkv_server.py is found in it.
sys.path[: 0 if sys.flags.safe_path else 1] = [
    os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
]
from rwkv_server import main  # noqa: E402

del sys.path[0]

if __name__ == "__main__":
    main()
