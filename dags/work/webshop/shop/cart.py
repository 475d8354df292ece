"""What a customer wants."""

from __future__ import annotations

from shop.prices import price_of
from shop.stock import Stock


class Cart:
    """Articles with pieces, taken from a stock when they are paid."""

    def __init__(self) -> None:
        self.pieces: dict[str, int] = {}

    def add(self, article: str, pieces: int = 1) -> None:
        """Put some pieces into the cart."""
        self.pieces[article] = self.pieces.get(article, 0) + pieces

    def pay(self, stock: Stock, cents: dict[str, int]) -> int:
        """Take all from the stock and return the price."""
        for article, pieces in self.pieces.items():
            stock.take(article, pieces)
        return sum(price_of(cents[article], pieces) for article, pieces in self.pieces.items())
