"""What there is of each article."""

from __future__ import annotations


class Stock:
    """Pieces of each article."""

    def __init__(self, pieces: dict[str, int]) -> None:
        self._pieces = dict(pieces)

    def available(self, article: str) -> int:
        """Return how many pieces there are."""
        return self._pieces.get(article, 0)

    def take(self, article: str, pieces: int) -> None:
        """Take some pieces out; raises ValueError if there are not as many."""
        if pieces > self.available(article):
            raise ValueError(f"there are only {self.available(article)} of {article}")
        self._pieces[article] = self.available(article) - pieces
