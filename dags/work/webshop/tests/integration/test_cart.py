"""The cart with prices and stock."""

import unittest

from shop.cart import Cart
from shop.stock import Stock


class CartWithShopTest(unittest.TestCase):
    """A whole purchase."""

    def test_a_purchase_costs_its_price_and_takes_the_pieces(self):
        stock = Stock({"tea": 20, "cup": 1})
        cart = Cart()
        cart.add("tea", 10)
        cart.add("cup")
        self.assertEqual(cart.pay(stock, {"tea": 150, "cup": 900}), 2250)
        self.assertEqual((stock.available("tea"), stock.available("cup")), (10, 0))
