"""Datasets of triplets in the layouts that others publish: read into the workspace, written out of it."""
