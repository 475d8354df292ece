"""The stock with what takes from it."""

import unittest

from shop.cart import Cart
from shop.stock import Stock


class StockWithCartTest(unittest.TestCase):
    """Two customers, one stock."""

    def test_the_second_customer_gets_what_the_first_has_left(self):
        stock = Stock({"tea": 3})
        first, second = Cart(), Cart()
        first.add("tea", 2)
        second.add("tea", 2)
        first.pay(stock, {"tea": 150})
        with self.assertRaises(ValueError):
            second.pay(stock, {"tea": 150})
