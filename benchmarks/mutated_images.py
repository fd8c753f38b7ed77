"""Damaged pictures of every format through the decoder, in a process whose memory is capped.

    figures = decode_mutated(3000)          # {"mutated_images": 3000, "decoder_crashes": 0, ...}

Each is a sound picture with bytes flipped, cut short, or with the head of another format spliced on. One that
ends the process, or takes longer than PATIENCE_S, counts as a crash; the next process goes on after it.
"""

import io
import json
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PATIENCE_S = 20  # for one picture
ROOM_BYTES = 768 * 2**20  # of address space beyond what the process has once everything is imported


def sound_pictures() -> list[bytes]:
    """One picture of each kind that shops serve, 90 x 120 px or less."""
    noise = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((90, 120), Image.Resampling.BICUBIC)
    grey16 = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (image, "JPEG", {}),
        (image, "JPEG", {"subsampling": 0, "restart_marker_blocks": 4}),
        (image, "JPEG", {"exif": exif}),
        (image, "JPEG", {"progressive": True}),
        (image.convert("L"), "JPEG", {}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "PNG", {}),
        (image.convert("RGBA"), "PNG", {}),
        (image.convert("P"), "PNG", {"transparency": 3}),
        (grey16, "PNG", {}),
        (image, "WEBP", {}),
        (image.convert("RGBA"), "WEBP", {"lossless": True}),
        (image, "WEBP", frames),
        (image, "GIF", {}),
        (image, "GIF", frames),
        (image, "AVIF", {}),
        (image.convert("RGBA"), "AVIF", {}),
    ]
    encoded = []
    for picture, kind, options in kinds:
        out = io.BytesIO()
        picture.save(out, kind, **options)
        encoded.append(out.getvalue())
    return encoded


def mutated(number: int, sound: list[bytes]) -> bytes:
    """Damaged picture `number`; the same number gives the same bytes."""
    chance = random.Random(number)
    body = bytearray(sound[number % len(sound)])
    how = chance.choice(("flips", "header", "cut", "splice", "all"))
    if how in ("flips", "all"):
        for _ in range(chance.choice((1, 3, 10, 100))):
            body[chance.randrange(len(body))] = chance.randrange(256)
    if how in ("header", "all"):  # sizes, lengths and offsets live here
        for _ in range(chance.choice((1, 2, 4))):
            place = chance.randrange(min(len(body), 100))
            body[place : place + 2] = chance.choice((b"\xff\xff", b"\0\0", b"\x7f\xff", chance.randbytes(2)))
    if how in ("splice", "all"):
        other = chance.choice(sound)
        cut = chance.randrange(4, 200)
        body[: chance.choice((cut, chance.randrange(4, 200)))] = other[:cut]
    if how in ("cut", "all"):
        del body[chance.randrange(1, len(body)) :]
    return bytes(body)


def decode_mutated(total: int, first: int = 0) -> dict[str, Any]:
    """Decodes `total` damaged pictures; returns how many, how many crashed, and rows by status."""
    statuses: Counter = Counter()
    crashes: list[int] = []
    number, end = first, first + total
    while number < end:
        command = [sys.executable, __file__, str(number), str(end)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        seen = done.stdout.split()
        statuses.update(seen)
        number += len(seen)
        if number < end:
            if done.returncode >= 0:
                raise RuntimeError(f"the decoding process ended with code {done.returncode}")
            crashes.append(number)
            number += 1
    return {
        "mutated_images": statuses.total() + len(crashes),
        "decoder_crashes": len(crashes),
        "crashed": crashes,
        "statuses": dict(statuses.most_common()),
    }


def _decode(first: int, end: int) -> None:
    from facap.crawl.decode import DecodeError, Limits, normalise

    sound = sound_pictures()
    for data in sound:
        normalise(data, Limits())  # everything is imported now
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = pages * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(first, end):
        signal.alarm(PATIENCE_S)  # ends the process, also within C code
        try:
            normalise(mutated(number, sound), Limits())
            print("ok", flush=True)
        except DecodeError as error:
            print(error.status, flush=True)
    signal.alarm(0)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _decode(int(sys.argv[1]), int(sys.argv[2]))
    else:
        print(json.dumps(decode_mutated(3000)))
