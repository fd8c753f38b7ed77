"""Several captions of one change -> the one text that a model reads, the way that Fashion IQ's are joined.

>>> joined(["is shiny and silver.", "fit and flare"])
'Is shiny and silver and fit and flare'
"""

from collections.abc import Sequence

TRIMMED = " .,?"  # what is stripped off a caption before it is joined


def joined(captions: Sequence[str]) -> str | None:
    """One caption as it is, several joined by "and" (as SPRC and CLIP4Cir do); None without any."""
    if len(captions) == 1:
        return captions[0] if captions[0].strip() else None
    texts = [text.strip(TRIMMED) for text in captions if text.strip(TRIMMED)]
    return " and ".join([texts[0].capitalize(), *texts[1:]]) if texts else None


def mixed(captions: Sequence[str], draw: int) -> str | None:
    """What training reads of two captions: both in either order, or one of them (draw 0 to 3).

    >>> [mixed(["shorter", "in red"], draw) for draw in range(4)]
    ['Shorter and in red', 'In red and shorter', 'shorter', 'in red']
    """
    said = [text for text in captions if text.strip(TRIMMED)]
    if len(said) != 2:
        return joined(captions)
    return joined((said, said[::-1], said[:1], said[1:])[draw])
