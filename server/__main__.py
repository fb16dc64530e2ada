"""`python -m server` is `rwkv-server`."""

from server.cli import main

if __name__ == "__main__":
    main()
