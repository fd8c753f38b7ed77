"""Fetch the images of ITEMS politely and safely -> IMAGES."""
