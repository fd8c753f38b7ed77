"""What a model finds for a few validation queries, as one picture: a row a query.

>>> Sheets(store)(validation.samples)                                        # doctest: +SKIP
<PIL.Image.Image size=920x790>

From left to right: the reference, the text, the pictures found, best first. The target is framed.
"""

import textwrap
from typing import Any

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import PIL.ImageOps

from facap import reports
from facap.model.preprocess import decode
from facap.store import Store

SIDE, GAP = 120, 10  # px
FRAME = (20, 130, 60)  # of the target
LETTERS = 22  # of a line of text


class Sheets:
    """Draws such pictures from a workspace's IMAGES, each of which it reads once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: dict[str, PIL.Image.Image] = {}

    def __call__(self, queries: list[dict[str, Any]]) -> PIL.Image.Image:
        shown = [[query["reference_id"], *query["found"]] for query in queries]
        self._read({image for row in shown for image in row} - self.seen.keys())
        step = SIDE + GAP
        sheet = PIL.Image.new(
            "RGB", (step * (max(map(len, shown)) + 1) + GAP, step * len(shown) + GAP), "white"
        )
        draw = PIL.ImageDraw.Draw(sheet)
        for line, (query, row) in enumerate(zip(queries, shown, strict=True)):
            y = GAP + line * step
            said = "\n".join(textwrap.wrap(query["modification"], LETTERS)[:9])
            draw.text((GAP + step, y), said, fill="black", font=PIL.ImageFont.load_default(11))
            for place, image in enumerate(row):
                x = GAP + step * (place + (place > 0))  # the text is in the second column
                sheet.paste(self.seen[image], (x, y))
                if place and image == query["target_id"]:
                    draw.rectangle((x - 4, y - 4, x + SIDE + 3, y + SIDE + 3), outline=FRAME, width=4)
        return sheet

    def _read(self, image_ids: set[str]) -> None:
        for image, data in reports.pictures(self.store, image_ids).items():
            self.seen[image] = PIL.ImageOps.pad(decode(data), (SIDE, SIDE), color="white")
