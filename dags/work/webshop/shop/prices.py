"""What articles cost."""

from __future__ import annotations


def price_of(cents: int, pieces: int) -> int:
    """Return cents for some pieces; from ten on, a tenth less, rounded up."""
    total = cents * pieces
    return total if pieces < 10 else -(-total * 9 // 10)
