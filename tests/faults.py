"""Database connections that fail on purpose."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from ddtp.database import Connection


class InjectedError(sqlite3.OperationalError):
    """What SQLite says when the disk refuses."""

    sqlite_errorcode = sqlite3.SQLITE_IOERR
    sqlite_errorname = "SQLITE_IOERR"


@dataclass
class Faults:
    """Which statement fails, counted from 0 since `arm`, and whether it has its effect all the same.

    Attributes:
        at: Number of the failing statement; None if none fails.
        persisted: True if the statement takes effect before the failure is reported.
        seen: The statements since `arm`.
    """

    at: int | None = None
    persisted: bool = False

    def __post_init__(self) -> None:
        self.seen: list[str] = []

    def arm(self, at: int | None, *, persisted: bool = False) -> None:
        self.at, self.persisted, self.seen = at, persisted, []

    def factory(self) -> type[Connection]:
        """Return a connection class that obeys this plan."""
        faults = self

        class FaultyConnection(Connection):
            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                if type(parameters).__name__ == "_Work":
                    return super().execute(sql, parameters)
                return faults.run(sql, lambda: super(FaultyConnection, self).execute(sql, parameters))

            def executemany(self, sql: str, rows: Any, /) -> sqlite3.Cursor:
                return faults.run(sql, lambda: super(FaultyConnection, self).executemany(sql, rows))

        return FaultyConnection

    def run(self, sql: str, statement: Any) -> sqlite3.Cursor:
        number = len(self.seen)
        self.seen.append(sql)
        if number != self.at:
            return statement()
        if self.persisted:
            statement()
        raise InjectedError(f"injected at {sql}")
