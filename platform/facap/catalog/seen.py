"""Which ids have been there, without holding them: a temporary table of SQLite's, partly on disk.

    >>> seen = Seen()
    >>> seen.add("a"), seen.add("a")
    (True, False)

A set of a million ids takes about 110 MB of Python's memory; this takes CACHE_KIB, however many there are.
"""

import sqlite3

CACHE_KIB = 32 * 1024


class Seen:
    """Ids in hexadecimal or any other text."""

    def __init__(self) -> None:
        # "": a database in a file of the system's temporary folder, gone when the connection is.
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._table.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute("PRAGMA synchronous = OFF")
        self._table.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._table.execute("BEGIN")

    def add(self, name: str) -> bool:
        """Whether `name` is new; it is not, from now on."""
        return self._table.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,)).rowcount == 1

    def has(self, name: str) -> bool:
        """Whether `name` was added."""
        return self._table.execute("SELECT 1 FROM seen WHERE id = ?", (name,)).fetchone() is not None
