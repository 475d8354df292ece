"""Durations and sizes as people write and read them. Pure."""

from __future__ import annotations

import re

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw]?)+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_SIZE_UNITS = " KMGT"


def parse_duration_s(text: str) -> float:
    """Return the seconds in `90`, `1.5h`, `7d` or `1h30m`.

    :raises ValueError: it is none of these.
    """
    text = text.strip().lower()
    parts = _DURATION_PART.findall(text)
    if not _DURATION.fullmatch(text) or (len(parts) > 1 and any(not unit for _, unit in parts)):
        raise ValueError(f"{text!r} is not a duration: write seconds, or as in 90s, 5m, 2h, 7d, 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_size_bytes(text: str) -> int:
    """Return the bytes in `512M`, `2GiB` or `1000000`; units are powers of 1024.

    :raises ValueError: it is none of these.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: write bytes, or as in 512M, 2G")
    return int(float(match[1]) * 1024 ** _SIZE_UNITS.index(match[2].upper() or " "))


def show_duration(seconds: float) -> str:
    """Return a duration in its two largest units, as `1h 05m`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours < 48 else f"{hours // 24}d {hours % 24:02d}h"


def show_size(size_bytes: int) -> str:
    """Return a size with a unit, as `1.5 GiB`."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
