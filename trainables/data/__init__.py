"""Where pictures come from, decoded once, and the batches made of them."""
