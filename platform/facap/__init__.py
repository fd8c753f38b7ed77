"""facap: composed image retrieval for fashion, from product image URLs to a live search endpoint."""

__version__ = "0.1.0"
