"""A literal table of model facts, and how a ready model is made of them."""
