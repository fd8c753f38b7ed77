"""Embed the catalogue and build the FAISS index -> EMBEDDINGS and an index snapshot."""
