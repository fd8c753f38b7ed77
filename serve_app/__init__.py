"""The online service: a Ray Serve application that answers composed queries over one catalogue index."""
