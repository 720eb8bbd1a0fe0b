"""A URL -> a database whose schema is current, with many readers and one writer at a time.

SQLite (the default) runs in WAL mode, and a writer begins with BEGIN IMMEDIATE; PostgreSQL takes an advisory lock. So
each line of the chain is written after the one that it is bound to, whoever else writes. WAL needs a disk of this
machine: several machines share a PostgreSQL server, not a SQLite file on a network drive.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from defectflow.errors import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
WAIT_S = 60
"""How long a writer waits for the others."""
RETRY_S = 0.02
"""Between two tries where SQLite does not wait by itself."""
LOCK = 0x6465_6665_6374  # "defect": any number that is always the same
DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


class Database:
    """An open database. `reading` and `writing` are its transactions; all errors leave as StoreError."""

    def __init__(self, url: str, *, revision: str = "head", create: bool = True) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._ours = False
        """Whether it is known to be a store, or is to become one: nothing is changed in anything else."""
        try:
            self._engine = create_engine(self.url, pool_pre_ping=not self.is_sqlite)
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise StoreError(f"{self}: {error}; pip install 'defectflow[serve]'") from error
        if self.is_sqlite:
            self._check_folder()
            if not create and self.file is not None and not self.file.is_file():
                raise StoreError(f"{self.file}: no such store; {_STORES}")
            event.listen(self._engine, "connect", self._prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        self._migrate(revision, create)

    def __str__(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a server."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view; never waits for writers."""
        with self._transaction(writing=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All or nothing, and nobody else writes meanwhile."""
        with self._transaction(writing=True) as connection:
            yield connection

    @contextmanager
    def examining(self) -> Iterator[Connection]:
        """As `reading`, but text that is no Unicode any more can be read, and so be found out."""
        with self.reading() as connection:
            driver = connection.connection.dbapi_connection
            if not isinstance(driver, sqlite3.Connection):
                yield connection
                return
            driver.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
            try:
                yield connection
            finally:
                driver.text_factory = str

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, writing: bool) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                options: dict[str, Any] = {"defectflow_writing": writing}
                if not self.is_sqlite and not writing:
                    options["isolation_level"] = "REPEATABLE READ"
                connection = connection.execution_options(**options)
                with connection.begin():
                    if writing and not self.is_sqlite:
                        connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_S}s'"))
                        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
                    yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"{self}: {_reason(error)}") from error
        except UnicodeDecodeError as error:  # of SQLite's own tables, or of what it says about them
            raise StoreError(f"{self}: is damaged; restore it from a copy ({error})") from error

    def _check_folder(self) -> None:
        folder = None if self.file is None else self.file.absolute().parent
        if folder is None or self.url.database == ":memory:":
            raise StoreError("a store needs a file or a server; give a path such as inspections.db")
        if not folder.is_dir():
            raise StoreError(f"{self.file}: the folder {folder} does not exist; make it, or give another path")

    def _prepare_sqlite(self, connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver thinks
        connection.execute(f"PRAGMA busy_timeout = {WAIT_S * 1000}")
        if self._ours:
            _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")  # a row that was acknowledged survives a power cut

    def _migrate(self, revision: str, create: bool) -> None:
        """Bring the schema up to date. Two processes that open an old store at once do it once."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        scripts = ScriptDirectory.from_config(config)
        with self.reading() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        if current is None and not create:
            raise StoreError(f"{self}: is not a DefectFlow store; nothing was changed; {_STORES}")
        if self.is_sqlite:
            self._ours = True
            self._engine.dispose()  # the next connections may prepare it
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise StoreError(f"{self}: was written by a newer DefectFlow (schema {current}); update this one")
        if current == scripts.get_current_head():
            return
        with self.writing() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except CommandError as error:
                raise StoreError(f"{self}: its schema cannot be brought up to date ({error})") from error


def parse_url(url: str) -> URL:
    """A path, `sqlite:///path` or `postgresql://user:password@host/database` -> URL. Raises StoreError."""
    if "://" not in url:
        return URL.create("sqlite", database=str(Path(url).expanduser()))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(f"store {url!r} is no URL; {_EXAMPLES}") from error
    driver = DRIVERS.get(parsed.drivername)
    if driver is None:
        raise StoreError(f"store of kind {parsed.drivername!r} is not supported; {_EXAMPLES}")
    return parsed.set(drivername=driver)


def is_sqlite(url: str) -> bool:
    """Whether a store is a file, which the processes of one machine share. Raises StoreError for what is no URL."""
    return parse_url(url).get_backend_name() == "sqlite"


_EXAMPLES = "give a path such as inspections.db, or postgresql://user:password@host/database"
_STORES = "give the file that `score --store` or the station writes, or postgresql://user:password@host/database"


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Readers and a writer at once. While another process writes, SQLite refuses the change without waiting."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(RETRY_S)


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("defectflow_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _reason(error: SQLAlchemyError) -> str:
    """What the database said, without the statement."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()
    reason = said[0] if said else type(error).__name__
    if "locked" in reason or "lock timeout" in reason:
        return f"{reason}: other processes have been writing for {WAIT_S} s; try again"
    return reason
