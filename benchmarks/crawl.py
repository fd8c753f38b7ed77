"""The crawl measured: speed against img2dataset, politeness, kills, safety, bad pictures, near duplicates.

    $ make bench NAME=crawl             # or with ARGS="--photos FOLDER --passes 12"

Takes about fifteen minutes. The photographs are not part of the repository.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import killed_crawls, mutated_images, near_duplicates, polite_hosts, ssrf_cases
from benchmarks.crawl_costs import costs, psnr_db
from benchmarks.crawl_race import LONGEST_SIDE, QUALITY, Race, Run
from benchmarks.photo_server import PhotoServer, photos, serving
from facap.crawl.config import CrawlConfig
from facap.crawl.decode import Limits
from facap.store import Store

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
COMPARED = 200  # pictures, for their quality
MUTATED = 10_000
KILLS = ("worker", "driver") * 3


def speed(folder: Path, server: PhotoServer, files: list[Path], passes: int, rounds: int) -> dict[str, Any]:
    """Ours and the peer's in turn, `rounds` times; the ratio is that of the medians."""
    race = Race(folder, server, len(files), passes)
    runs: dict[str, list[Run]] = {"ours": [], "img2dataset": []}
    for _ in range(rounds):
        for name, start in (("img2dataset", race.peer), ("ours", race.ours)):
            runs[name].append(run := start())
            print(
                f"{name:12} {run.num_images:,} images in {run.seconds:5.1f} s: {run.images_per_s:6.1f}/s, "
                f"{run.cpu_ms:.2f} ms CPU an image, {run.peak_bytes / 2**20:,.0f} MiB; "
                f"with imports {run.command_seconds:.1f} s"
            )
    ours = runs["ours"]
    figures: dict[str, Any] = {"images": race.num_images, "rounds": rounds}
    for name, done in runs.items():
        figures[f"{name}_images_per_s"] = round(median(run.images_per_s for run in done), 1)
        figures[f"{name}_cpu_ms_per_image"] = round(median(run.cpu_ms for run in done), 2)
        figures[f"{name}_command_seconds"] = round(median(run.command_seconds for run in done), 1)
        figures[f"{name}_peak_mib"] = round(max(run.peak_bytes for run in done) / 2**20)
    figures["images_per_s_ratio"] = round(
        figures["ours_images_per_s"] / figures["img2dataset_images_per_s"], 2
    )
    figures["images_per_s_ratio_each_round"] = [
        round(mine.images_per_s / theirs.images_per_s, 2)
        for mine, theirs in zip(ours, runs["img2dataset"], strict=True)
    ]
    figures["command_ratio"] = round(
        figures["img2dataset_command_seconds"] / figures["ours_command_seconds"], 2
    )
    figures["cpu_ms_per_image"] = figures["ours_cpu_ms_per_image"]
    figures["server_cpu_ms_per_image"] = round(
        median(run.server_cpu_s / run.num_images for run in ours) * 1000, 3
    )
    figures["stored_bytes_per_image"] = round(race.stored_bytes / race.num_images)
    compared = range(min(COMPARED, len(files)))
    for name, stored in (
        ("ours", race.stored_by_us(compared)),
        ("img2dataset", race.stored_by_peer(compared)),
    ):
        figures[f"{name}_psnr_db"] = psnr_db([files[n] for n in compared], stored)
    return figures


def parts(figures: dict[str, Any], files: list[Path], server: PhotoServer) -> dict[str, Any]:
    """The floor, and where the rest of our CPU goes."""
    by_part = costs(files, server.port, Limits(longest_side=LONGEST_SIDE, jpeg_quality=QUALITY))
    rest = figures["cpu_ms_per_image"] - sum(by_part.values())
    by_part["start_and_bookkeeping"] = round(rest, 3)
    floor = by_part["decode"] + by_part["encode"]
    cores = len(os.sched_getaffinity(0))
    print(f"\nCPU an image {figures['cpu_ms_per_image']:.2f} ms; the floor (decode, encode) is {floor:.2f}:")
    for name, ms in by_part.items():
        print(f"  {name:24} {ms:6.2f} ms {100 * ms / figures['cpu_ms_per_image']:5.0f} %")
    return {
        "cpu_ms_floor": round(floor, 3),
        "floor_images_per_s": round(1000 * cores / floor),
        "cpu_ms_by_part": by_part,
    }


def politeness(folder: Path) -> dict[str, Any]:
    """Twenty loopback hosts of skewed sizes, seen from the server."""
    from jobs.job_runner import ray_session

    config = CrawlConfig(
        allow_networks=("127.0.0.0/8",), max_rate_per_host=10, max_connections_per_host=2, num_workers=2
    )
    with ray_session(sys.stdout):
        seen = polite_hosts.measure(Store(str(folder)), polite_hosts.zipf(20, 300), config)
    return {f"politeness_{name}": value for name, value in seen.items()}


def kills(folder: Path) -> dict[str, Any]:
    """SIGKILL of a worker and of the driver at random moments: how often the end was as if in peace."""
    from jobs.job_runner import ray_session

    seed = random.randrange(10**6)
    folder.mkdir()
    with ray_session(sys.stdout):
        results = killed_crawls.measure(folder, KILLS, seed)
    print(f"\nkills, seed {seed}:")
    for one in results:
        print(f"  {one['kill']:6} with {one['done']} of {one['rows']} rows there, equal: {one['equal']}")
    equal = sum(one["equal"] for one in results)
    return {"kills": len(results), "kills_equal": equal, "kills_seed": seed}


def safety() -> dict[str, Any]:
    """Every SSRF case on a real fetcher."""
    outcomes = ssrf_cases.attack()
    passed = [case for case, status in outcomes.items() if status not in ssrf_cases.REFUSED]
    return {"ssrf_cases": len(outcomes), "ssrf_passed_through": len(passed)}


def main() -> None:
    """Prints as it goes; the last line is one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of photographs")
    parser.add_argument("--passes", type=int, default=40, help="addresses of each photograph")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each crawler, in turn")
    given = parser.parse_args()
    files = photos(given.photos)
    if not files:
        parser.error(f"no photographs (*.jpg) below {given.photos}; name a folder with --photos")
    with tempfile.TemporaryDirectory() as name, serving(given.photos) as server:
        folder = Path(name)
        figures = speed(folder, server, files, given.passes, given.rounds)
        figures |= parts(figures, files, server)
        figures |= politeness(folder / "polite")
        figures |= kills(folder / "killed")
    figures |= safety()
    figures |= mutated_images.decode_mutated(MUTATED)
    near = near_duplicates.measure(files)
    near["near_duplicate_search_ns_per_pair"] = near_duplicates.search_ns_per_pair()
    near_duplicates.draw(near, near_duplicates.CURVE)
    print(json.dumps(figures | near))


if __name__ == "__main__":
    main()
