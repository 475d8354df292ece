"""The stock alone."""

import unittest

from shop.stock import Stock


class StockTest(unittest.TestCase):
    """What is there, and what is not."""

    def test_what_is_taken_is_gone(self):
        stock = Stock({"tea": 3})
        stock.take("tea", 2)
        self.assertEqual(stock.available("tea"), 1)

    def test_nobody_takes_more_than_there_is(self):
        with self.assertRaises(ValueError):
            Stock({"tea": 3}).take("tea", 4)
