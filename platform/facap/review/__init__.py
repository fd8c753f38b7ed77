"""A human spot check: people mark sampled TRIPLETS on a page, and the score is held against their marks."""
