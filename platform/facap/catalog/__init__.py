"""Catalogues -> ITEMS; the rendered demo catalogue."""
