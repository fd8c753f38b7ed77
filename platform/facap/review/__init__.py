"""A human spot check: a page on which people mark sampled TRIPLETS, and how far the score agrees with them."""
