"""A workspace -> what may go and what stays, and with `remove` without the former.

    >>> clean(store, CleanConfig(), registered, settings="", say=print)         # doctest: +SKIP
    stays  images/data-3fa9c1d2e4b5          1.2 GiB   2.0 d  the finished version
    goes   images/data-77ab01c2d3e4          1.1 GiB  12.4 d  not the finished version, and nothing refers ...

A version is removed under its lease, so no run makes it meanwhile, and is looked at once more before.
"""

import time
from collections.abc import Callable
from dataclasses import asdict

from facap.clean.config import CleanConfig
from facap.clean.entries import CHAMPION, Entry, Workspace
from facap.clean.judge import DAY_S, HOUR_S, Facts, Verdict, judge, keys_in
from facap.clean.kept import kept_texts
from facap.clean.registered import Registered, folder_of
from facap.errors import StageBusy
from facap.lease import Holder, holder_of
from facap.store import Manifest, Store

FIRST = (
    "checkpoints",
    "version",
)  # a training without its folder would start anew, one without these would not


def clean(
    store: Store,
    config: CleanConfig,
    registered: Registered,
    settings: str,
    say: Callable[[str], None],
) -> list[Verdict]:
    """Says what stays and what goes, and with `config.remove` removes it; returns the verdicts.

    `settings`: the run's, as text; they may name a version too. WorkspaceError for a manifest that cannot be
    read, ConfigError for something in `config.keep` that cannot be: what they name is not known then, so
    nothing is removed.
    """
    workspace = Workspace(store)
    foreign = tuple(f"{name}/" for name in workspace.datasets() if workspace.is_foreign(name))
    for folder in foreign:
        say(f"left alone  {folder}  its manifest.json is none of ours")
    entries = [entry for entry in workspace.entries() if not entry.path.startswith(foreign)]
    names = [name for name in workspace.datasets() if f"{name}/" not in foreign]
    facts = _facts(workspace, names, entries, config, registered, settings)
    verdicts = judge(entries, facts, workspace.texts)
    now = time.time()
    for verdict in verdicts:
        say(f"{'stays' if verdict.stays else 'goes '}  {_line(verdict.entry, now)}  {verdict.why}")
    going = [verdict.entry for verdict in verdicts if not verdict.stays]
    size = sum(entry.size_bytes for entry in going if not _is_within(entry, going))
    if not config.remove:
        say(f"{in_words(size)} in {len(going)} places may go; --clean.remove true removes them")
        return verdicts
    gone = sum(_remove(workspace, entry, say) for entry in sorted(going, key=_in_order))
    say(f"{gone} of {len(going)} places removed, {in_words(size)} in all of them")
    return verdicts


def in_words(size_bytes: float) -> str:
    """A size with its unit.

    >>> in_words(1536)
    '1.5 KiB'
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def _facts(
    workspace: Workspace,
    names: list[str],
    entries: list[Entry],
    config: CleanConfig,
    registered: Registered,
    settings: str,
) -> Facts:
    now = time.time()
    store = workspace.store
    found = {name: store.manifest(name) for name in names}
    finished = {name: manifest for name, manifest in found.items() if manifest is not None}
    told = {f"{name}/manifest.json": str(asdict(manifest)) for name, manifest in finished.items()}
    told |= {f"MLflow's {version}": text for version, text in registered.told.items()}
    champions = {folder: f"has the alias {aliases}" for folder, aliases in registered.aliased.items()}
    asked = {**kept_texts(config.keep), "this run's settings": settings}
    named = keys_in({**told, **asked})
    champions |= _decided(finished, registered)
    champions |= {name: f"{who} names it" for who, text in asked.items() for name in CHAMPION.findall(text)}
    return Facts(config, now, finished, _live(workspace, entries, config, now), named, champions)


def _live(
    workspace: Workspace, entries: list[Entry], config: CleanConfig, now: float
) -> dict[tuple[str, str], Holder]:
    """Who makes what; one on another machine is taken to be alive for `temporary_hours`."""
    live = {}
    for entry in (entry for entry in entries if entry.kind == "lease"):
        holder = holder_of(workspace.fs, f"{workspace.base}/{entry.name}", entry.key)
        if holder is None:
            continue
        recent = entry.changed > now - config.temporary_hours * HOUR_S
        if holder.ended() is False or (holder.ended() is None and recent):
            live[entry.name, entry.key] = holder
    return live


def _decided(finished: dict[str, Manifest], registered: Registered) -> dict[str, str]:
    """Folders of the models that the last decision and the index name."""
    champion, index = (finished[name].extra if name in finished else {} for name in ("champion", "index"))
    models = {champion["name"]} if "name" in champion else set()
    models |= {told.rpartition(" v")[0] for told in registered.told}
    found = {}
    for version in (champion.get("model_version"), champion.get("registered_version")):
        if version is not None:
            found[folder_of(champion["name"], version)] = "the last promotion names it"
    if "model_version" in index:
        found |= {folder_of(model, index["model_version"]): "the index was made with it" for model in models}
    return found


def _remove(workspace: Workspace, entry: Entry, say: Callable[[str], None]) -> bool:
    store = workspace.store
    if entry.kind == "champion" or not entry.key:
        return _removed(workspace, entry, say)
    try:
        lease = store.lease(entry.name, entry.key)
    except StageBusy as busy:
        say(f"stays after all  {entry.path}: {busy}")
        return False
    try:
        manifest = store.manifest(entry.name)
        if entry.kind == "version" and manifest is not None and manifest.key == entry.key:
            say(f"stays after all  {entry.path}: it was finished meanwhile")
            return False
        return _removed(workspace, entry, say)
    finally:
        lease.release()


def _removed(workspace: Workspace, entry: Entry, say: Callable[[str], None]) -> bool:
    try:
        workspace.remove(entry)
    except FileNotFoundError:  # went with what it lay in
        return True
    except OSError as error:
        say(f"cannot be removed  {entry.path}: {error}")
        return False
    return True


def _in_order(entry: Entry) -> int:
    return FIRST.index(entry.kind) if entry.kind in FIRST else len(FIRST)


def _is_within(entry: Entry, others: list[Entry]) -> bool:
    return any(entry.path.startswith(f"{other.path}/") for other in others)


def _line(entry: Entry, now: float) -> str:
    age = max(0.0, now - entry.changed) / DAY_S
    return f"{entry.path:<40} {in_words(entry.size_bytes):>10} {age:6.1f} d"
