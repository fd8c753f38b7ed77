"""Mine (reference, target) pairs and split them by product -> PAIRS."""
