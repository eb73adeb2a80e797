"""Shopping: fill a cart with the cheapest products that meet every wish, and with the best coupons."""
