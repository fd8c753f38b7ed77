"""Trains the embedded models that ship with facap, on rendered garments whose attributes are known."""
