"""Prices alone."""

import unittest

from shop.prices import price_of


class PricesTest(unittest.TestCase):
    """What many pieces cost."""

    def test_few_pieces_cost_their_price(self):
        self.assertEqual(price_of(150, 3), 450)

    def test_ten_pieces_cost_a_tenth_less(self):
        self.assertEqual(price_of(150, 10), 1350)

    def test_a_part_of_a_cent_is_a_cent(self):
        self.assertEqual(price_of(1, 11), 10)
