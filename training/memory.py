"""Keep freed memory in the process."""

import ctypes
import sys


def keep_freed_memory() -> None:
    """Ask glibc not to return large blocks to the kernel.

    Each training step frees and allocates the same hundreds of megabytes; faulting the pages in
    again took a third of the time of a step.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # names in malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 256 * 2**20)
