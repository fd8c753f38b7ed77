"""Which entries stay and why, which may go and why; pure, so that it can be held against any workspace.

A version stays if it is the finished one, if a run makes it, if something that stays names it, if a run or
the service may still read it, if a rollback leads to it, or if it is young. All of these are looked at
before anything may go.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from facap.clean.config import CleanConfig
from facap.clean.entries import VERSION, Entry
from facap.lease import Holder
from facap.store import Manifest

DAY_S, HOUR_S = 86_400.0, 3_600.0


@dataclass(frozen=True)
class Facts:
    """What is known of a workspace at the time `now`, s since 1970."""

    config: CleanConfig
    now: float
    finished: Mapping[str, Manifest]
    live: Mapping[tuple[str, str], Holder] = field(default_factory=dict)  # (name, key) -> who makes it
    named: Mapping[str, str] = field(default_factory=dict)  # key -> by whom: a manifest, MLflow, the settings
    champions: Mapping[str, str] = field(default_factory=dict)  # beginning of a folder -> why it is needed


@dataclass(frozen=True)
class Verdict:
    """Whether an entry stays, and why it does or may go."""

    entry: Entry
    stays: bool
    why: str


def judge(entries: Iterable[Entry], facts: Facts, texts: Callable[[Entry], str]) -> list[Verdict]:
    """A verdict on each entry; `texts` gives what a version says, in which it may name others."""
    entries = list(entries)
    versions = [entry for entry in entries if entry.kind == "version"]
    stay: dict[Entry, str] = {}
    for entry in versions:
        if why := _version_stays(entry, facts, entries):
            stay[entry] = why
    queue = list(stay)
    while queue:
        entry = queue.pop()
        keys = set(VERSION.findall(texts(entry)))
        for other in versions:
            if other.key in keys and other not in stay:
                stay[other] = f"{entry.path} names it"
                queue.append(other)
    kept = {(entry.name, entry.key) for entry in stay}
    complete = {(entry.name, entry.key) for entry in versions if entry.is_complete}
    verdicts = []
    for entry in entries:
        reason = stay.get(entry) if entry.kind == "version" else _other_stays(entry, facts, kept, complete)
        verdicts.append(Verdict(entry, bool(reason), reason or _may_go(entry, facts)))
    return verdicts


def keys_in(told: Mapping[str, str]) -> dict[str, str]:
    """key -> who names it, of texts by who says them."""
    return {key: f"{who} names it" for who, text in told.items() for key in VERSION.findall(text)}


def _version_stays(entry: Entry, facts: Facts, entries: list[Entry]) -> str:
    finished = facts.finished.get(entry.name)
    if finished is not None and finished.key == entry.key:
        return "the finished version"
    if (entry.name, entry.key) in facts.live:
        return f"being made by {facts.live[entry.name, entry.key]}"
    if entry.key in facts.named:
        return facts.named[entry.key]
    if finished is not None and (since := _read_since(finished, facts)):
        return since
    if entry.name == "index" and _is_young(_made_at(facts.finished.get("index")), facts):
        return "a service that was not started again since may serve it"
    if entry == _before(finished, entry.name, entries):
        return "the version before the finished one: a rollback leads to it"
    same = [e.changed for e in entries if (e.name, e.key) == (entry.name, entry.key) and e.kind != "lease"]
    if _is_young(max(same), facts):  # of a training its checkpoints are what changes
        return f"changed within clean.keep_days ({facts.config.keep_days:g})"
    return ""


def _before(finished: Manifest | None, name: str, entries: list[Entry]) -> Entry | None:
    """The complete version of `name` that changed last, but for the finished one."""
    if finished is None:
        return None
    others = [e for e in entries if e.name == name and e.is_complete and e.key != finished.key]
    return max(others, key=lambda entry: entry.changed, default=None)


def _other_stays(
    entry: Entry, facts: Facts, kept: set[tuple[str, str]], complete: set[tuple[str, str]]
) -> str:
    if entry.kind == "champion":
        for beginning, why in facts.champions.items():
            if entry.name.startswith(beginning):
                return why
        if _is_young(max(entry.changed, _made_at(facts.finished.get("index"))), facts):
            return f"changed, or the index was, within clean.keep_days ({facts.config.keep_days:g})"
        return ""
    if (entry.name, entry.key) in facts.live:
        return f"of a version being made by {facts.live[entry.name, entry.key]}"
    if entry.kind == "checkpoints":
        finished = facts.finished.get("model")
        is_done = (finished is not None and finished.key == entry.key) or (entry.name, entry.key) in complete
        if (entry.name, entry.key) in kept and not is_done:
            return "its training goes on from here"
        if _is_young(entry.changed, facts):
            return f"changed within clean.keep_days ({facts.config.keep_days:g})"
        return ""
    if entry.changed > facts.now - facts.config.temporary_hours * HOUR_S:
        return f"younger than clean.temporary_hours ({facts.config.temporary_hours:g})"
    return ""


def _may_go(entry: Entry, facts: Facts) -> str:
    if entry.kind == "version":
        return "not the finished version, and nothing refers to it"
    return {
        "checkpoints": "the training is finished, or nothing is left to resume",
        "champion": "no alias, index or decision names it; downloaded again when it is needed",
        "temporary": "of a write that was killed",
        "lease": "of a run that is gone",
    }[entry.kind]


def _read_since(finished: Manifest, facts: Facts) -> str:
    """Why the versions before `finished` may still be read: by a run that began before it was there."""
    for (name, key), holder in facts.live.items():
        began = _seconds(holder.since)
        if began is None or began < _made_at(finished) + HOUR_S:  # their clocks may differ
            return f"the run that makes {name}/data-{key} may read it"
    return ""


def _made_at(manifest: Manifest | None) -> float:
    return (_seconds(manifest.created_at) or 0.0) if manifest is not None else 0.0


def _seconds(stamp: str) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None


def _is_young(changed: float, facts: Facts) -> bool:
    return changed > facts.now - facts.config.keep_days * DAY_S
