"""The split of a product, beside the stage that writes it; evaluation reads it from `facap.splits` too."""

from facap.splits import TEST_SHARE, VAL_SHARE, split_of

__all__ = ["TEST_SHARE", "VAL_SHARE", "split_of"]
