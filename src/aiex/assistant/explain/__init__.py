"""`explain`: the facts first, then a model's words about them."""
