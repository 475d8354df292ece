"""The cart alone."""

import unittest

from shop.cart import Cart


class CartTest(unittest.TestCase):
    """What is in a cart."""

    def test_pieces_of_an_article_add_up(self):
        cart = Cart()
        cart.add("tea")
        cart.add("tea", 2)
        self.assertEqual(cart.pieces, {"tea": 3})
