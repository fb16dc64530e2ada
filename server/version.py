"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("rwkv-server")
except PackageNotFoundError:
    VERSION = "0+source"  # run from a source tree that is not installed
