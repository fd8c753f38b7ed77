"""The report of pairing: one HTML page with plots of what the settings keep, and examples.

    <workspace>/reports/pairs.html  pairs.json          of the version of PAIRS that is the finished one

The figures were added up while the pairs were mined (survey.py); here they are drawn, beside pictures of
pairs at both ends and in the middle of the band and of neighbours just beyond it. What captions say is
untrusted: the template escapes it, and the page forbids itself scripts and any request.
"""

from pathlib import Path
from typing import Any

from facap import reports
from facap.store import Manifest, Store
from facap.triplets import charts
from facap.triplets.pipeline import FIGURES
from facap.triplets.survey import ALL

SHOWN = 4  # pairs of each kind; two pictures each
THUMB_PX, THUMB_QUALITY = 200, 75
MOST_CHANGES = 8  # attributes named below a pair
TEMPLATE = Path(__file__).with_name("report.html.jinja")


def publish(store: Store, mlflow_uri: str) -> dict[str, Any] | None:
    """Writes the report of the finished PAIRS and returns its figures; nothing is done if it is there.

    None: these PAIRS were mined before their figures were kept.
    """
    manifest = store.require("pairs")
    there = reports.kept(store, "pairs", manifest.fingerprint)
    if there is not None:
        return there
    surveyed = reports.read_json(f"{store.folder('pairs')}/{FIGURES}")
    if surveyed is None:
        return None
    figures = {
        "fingerprint": manifest.fingerprint,
        "created_at": manifest.created_at,
        "seconds": manifest.seconds,
        "splits": manifest.extra["splits"],
        **surveyed,
    }
    page = render(store, figures)
    params = manifest.config | {"inputs": manifest.inputs}
    reports.track(store, mlflow_uri, "pairs", params, _metrics(manifest, figures), page, figures)
    reports.keep(store, "pairs", page, figures)
    return figures


def render(store: Store, figures: dict[str, Any]) -> str:
    """The page; the pictures are of IMAGES, what differs is read from CAPTIONS."""
    pairs = store.read("pairs", ["reference_id", "target_id", "category", "similarity"]).to_pylist()
    kinds = examples(pairs, figures["outside"])
    shown = {pair[side] for _, _, some in kinds for pair in some for side in ("reference_id", "target_id")}
    pictures = reports.pictures(store, shown)
    attributes = _attributes(store, shown)
    settings = figures["settings"]
    band = (settings["min_similarity"], settings["max_similarity"])
    uses = figures["groups"][ALL]["uses"]
    return reports.template(TEMPLATE).render(
        figures=figures,
        total=figures["groups"][ALL],
        categories={name: group for name, group in figures["groups"].items() if name != ALL},
        settings=settings,
        band=band,
        charts=charts,
        kinds=[
            (
                name,
                what,
                [pair for pair in some if pair["reference_id"] in pictures and pair["target_id"] in pictures],
            )
            for name, what, some in kinds
        ],
        thumb=lambda image_id: reports.picture_uri(pictures[image_id], THUMB_PX, THUMB_QUALITY),
        changed=lambda pair: changed(attributes[pair["reference_id"]], attributes[pair["target_id"]]),
        uses=[*uses, *[0] * (settings["max_target_uses"] + 1 - len(uses))][:12],
    )


def examples(
    pairs: list[dict[str, Any]], outside: dict[str, list[dict[str, Any]]]
) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(heading, what it shows, pairs) from the most unlike to the most alike; of each category in turn."""
    ordered = sorted(pairs, key=lambda pair: (pair["similarity"], pair["reference_id"]))
    middle = (ordered[0]["similarity"] + ordered[-1]["similarity"]) / 2
    central = sorted(ordered, key=lambda pair: abs(pair["similarity"] - middle))
    return [
        ("Left out, too unlike", "just below the band, attributes would do", outside["below"][:SHOWN]),
        ("Kept, the least alike", "if these are strangers, raise min_similarity", _in_turn(ordered)),
        ("Kept, the middle", "this is what training mostly sees", _in_turn(central)),
        ("Kept, the most alike", "if these are one garment, lower max_similarity", _in_turn(ordered[::-1])),
        ("Left out, too alike", "just above the band, attributes would do", outside["above"][:SHOWN]),
    ]


def changed(reference: dict[str, str], target: dict[str, str]) -> list[tuple[str, str, str]]:
    """(attribute, value of the reference, value of the target) where they differ.

    >>> changed({"colour": "red", "fit": "loose"}, {"colour": "navy", "fit": "loose", "closure": "zip"})
    [('closure', 'not said', 'zip'), ('colour', 'red', 'navy')]
    """
    names = sorted(reference.keys() | target.keys())
    differing = [name for name in names if reference.get(name) != target.get(name)]
    silent = "not said"
    return [(name, reference.get(name, silent), target.get(name, silent)) for name in differing][
        :MOST_CHANGES
    ]


def _in_turn(ordered: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of each category, then, if there are too few, more in order."""
    first: dict[str, dict[str, Any]] = {}
    for pair in ordered:
        first.setdefault(pair["category"], pair)
    rest = [pair for pair in ordered[:SHOWN] if pair is not first[pair["category"]]]
    return [*first.values(), *rest][:SHOWN]


def _attributes(store: Store, image_ids: set[str]) -> dict[str, dict[str, str]]:
    rows = store.read("captions", ["image_id", "attributes"]).to_pylist()
    return {row["image_id"]: dict(row["attributes"] or []) for row in rows if row["image_id"] in image_ids}


def _metrics(manifest: Manifest, figures: dict[str, Any]) -> dict[str, float]:
    total = figures["groups"][ALL]
    metrics: dict[str, float] = {f"funnel/{step}": number for step, number in total["funnel"].items()}
    metrics |= {f"neighbours/{step}": number for step, number in total["neighbours"].items()}
    metrics |= {
        f"paired/{name}": group["funnel"]["paired"] / max(1, group["funnel"]["images"])
        for name, group in figures["groups"].items()
    }
    return metrics | {f"failures/{reason}": number for reason, number in manifest.extra["failures"].items()}
