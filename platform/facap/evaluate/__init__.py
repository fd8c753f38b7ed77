"""Score composed retrieval on products never seen -> METRICS."""
