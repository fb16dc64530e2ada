"""Sizes as people read them."""

_UNITS = ("kB", "MB", "GB", "TB")


def shown_bytes(count: int) -> str:
    """`640 bytes`, `13 MB` or `3.1 GB`: two or three digits of a decimal unit."""
    if count < 1000:
        return f"{count} bytes"
    size = float(count)
    for unit in _UNITS:
        size /= 1000
        if round(size) < 1000 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:,.0f} {unit}"
