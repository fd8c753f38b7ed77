"""A sign in a stage's folder by which the driver ends a crawl: workers write what they have and ask no more.

    >>> sign = StopSign(stage.folder)                       # doctest: +SKIP
    >>> sign.put()                                          # in the driver
    >>> await Lookout(sign).is_put()                        # in a worker, which looks every LOOK_S seconds
    True

A sign is of one run: what a killed one has left behind stops nobody.
"""

import asyncio
import time
import uuid

import pyarrow.fs

LOOK_S = 2.0


class StopSign:
    """Picklable; `folder` is a path or URI."""

    def __init__(self, folder: str) -> None:
        self.folder, self.name = folder, f"stop-{uuid.uuid4().hex}"

    def put(self) -> None:
        """From now on it is there."""
        filesystem, path = self._place()
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with filesystem.open_output_stream(path):
            pass

    def is_put(self) -> bool:
        """Whether it is there."""
        filesystem, path = self._place()
        return filesystem.get_file_info(path).type != pyarrow.fs.FileType.NotFound

    def remove(self) -> None:
        """Takes it away, if it is there."""
        filesystem, path = self._place()
        if self.is_put():
            filesystem.delete_file(path)

    def _place(self) -> tuple[pyarrow.fs.FileSystem, str]:
        filesystem, folder = pyarrow.fs.FileSystem.from_uri(self.folder)
        return filesystem, f"{folder}/{self.name}"


class Lookout:
    """Looks for a sign every now and then; one for each worker."""

    def __init__(self, sign: StopSign | None) -> None:
        self.sign, self.seen = sign, False
        self._next = 0.0

    async def is_put(self) -> bool:
        """Whether the sign was there when it was last looked for."""
        now = time.monotonic()
        if self.sign is not None and not self.seen and now >= self._next:
            self._next = now + LOOK_S
            self.seen = await asyncio.to_thread(self.sign.is_put)
        return self.seen
