"""The log as a witness: whatever is done to it shows. On SQLite and on PostgreSQL."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from postgres import new_database
from sqlalchemy import MetaData, Table, insert, inspect, select, text
from store_support import card_of, python, record_parts, verdict

from defectflow.errors import StoreError
from defectflow.store import Query, Seen, Store, StoreSettings, database, schema
from defectflow.store.chain import Head
from defectflow.store.database import Database

CARD = card_of(np.linspace(0, 1, 39))
WRITER = """
import numpy as np
from store_support import card_of, verdict
from defectflow.store import Seen, Store

url, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
card = card_of(np.linspace(0, 1, 39))
with Store.open(url) as store:
    for number in range(count):
        seen = [Seen(f"{who}-{number}-{side}.png", verdict(card, number / 7), f"{who}-{number}") for side in "ab"]
        print(*store.record(card, seen, by=who, source="test"), flush=True)
"""


def tamper(url: str, *statements: str) -> None:
    """As somebody with the database's own rights: past the triggers."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as server:
            server.execute("SET session_replication_role = replica")
            for statement in statements:
                server.execute(statement)
        return
    with closing(sqlite3.connect(url)) as file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            file.execute(statement)
        file.commit()


def filled(url: str) -> Head:
    """Rows 1 (calibration) to 6; four inspections and a review."""
    with Store.open(url) as store:
        numbers = record_parts(store, CARD, {"1": 0.1, "2": 0.2, "3": 0.95, "4": 9.0})
        store.reviews.answer(numbers["3"], "good", by="anna")
        result = store.verify()
    assert result.passed
    assert (result.rows, result.head.id) == (6, 6)
    return result.head


def findings(url: str, noted: Head | None = None) -> tuple[str, ...]:
    with Store.open(url) as store:
        result = store.verify(noted=noted)
    assert result.passed == (not result.findings)
    return result.findings


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE inspections SET score = 0.1000000001 WHERE id = 2", "inspections, row 2: was altered"),
        ("UPDATE inspections SET decision = 'ok' WHERE id = 5", "inspections, row 5: was altered"),
        ("UPDATE inspections SET error = '' WHERE id = 3", "inspections, row 3: was altered"),
        ("UPDATE inspections SET p_value = NULL WHERE id = 3", "inspections, row 3: was altered"),
        ("UPDATE reviews SET by = 'bert' WHERE id = 6", "reviews, row 6: was altered"),
        ("DELETE FROM inspections WHERE id = 4", "inspections, row 4: is missing"),
        ("UPDATE inspections SET id = 9 WHERE id = 4", "inspections, row 9: was inserted without the log"),
        ("DELETE FROM chain WHERE id = 4", "chain: rows 4 to 4 are missing"),
        (f"UPDATE chain SET digest = '{'0' * 64}' WHERE id = 3", "chain, row 3: was altered"),
        ("UPDATE chain SET kind = 'reviews' WHERE id = 3", "chain, row 3: was altered"),
    ],
)
def test_tampering_names_the_row(store_url: str, statement: str, said: str) -> None:
    filled(store_url)
    tamper(store_url, statement.replace(" by ", ' "by" '))
    assert said in findings(store_url)


def test_a_whole_row_forged_with_its_line_breaks_the_next_one(store_url: str) -> None:
    """Somebody who knows how digests are made, and forges row 3's line as well, still cannot forge row 4's."""
    filled(store_url)
    forged = "UPDATE chain SET digest = 'd', hash = 'h' WHERE id = 3"
    tamper(store_url, "UPDATE inspections SET score = 0 WHERE id = 3", forged)
    assert "chain, row 4: does not continue the row before it" in findings(store_url)


def test_an_end_cut_off_shows_against_a_noted_head(store_url: str) -> None:
    head = filled(store_url)
    assert findings(store_url, head) == ()
    tamper(store_url, "DELETE FROM reviews WHERE id = 6", "DELETE FROM chain WHERE id = 6")
    assert findings(store_url) == (), "without a note, a shorter log looks like one"
    assert findings(store_url, head) == ("chain: ends at row 5; row 6, noted earlier, was cut off",)


def test_a_log_written_again_shows_against_a_noted_head(tmp_path: Path) -> None:
    head = filled(str(tmp_path / "a.db"))
    filled(str(tmp_path / "b.db"))
    assert "the log was rewritten" in findings(str(tmp_path / "b.db"), head)[0]
    assert Head.parse(str(head)) == head
    with pytest.raises(StoreError, match="NUMBER:HASH"):
        Head.parse("6:abc")


@pytest.mark.parametrize("table", ["chain", "inspections", "reviews", "calibrations"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET id = id + 100", "DELETE FROM {}"])
def test_the_database_itself_refuses(store_url: str, table: str, statement: str) -> None:
    filled(store_url)
    with Store.open(store_url) as store:
        with pytest.raises(StoreError, match=f"{table} is append-only"), store.database.writing() as connection:
            connection.execute(text(statement.format(table)))
        assert store.verify().rows == 6


def test_any_byte_of_the_file(tmp_path: Path) -> None:
    """Turn single bytes of a SQLite file: either verify tells, or not one value has changed."""
    original = tmp_path / "s.db"
    filled(str(original))
    with closing(sqlite3.connect(original)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = original.read_bytes()
    values = dump(original)
    told = 0
    turned = tmp_path / "turned.db"
    # Bytes of text and numbers that rows hold: pages are mostly empty, and a turn there changes nothing.
    used = [place for place, byte in enumerate(content) if byte and place > 100]
    for place in random.Random(0).sample(used, 150):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        for beside in tmp_path.glob("turned.db*"):
            beside.unlink()
        turned.write_bytes(changed)
        try:
            seen = findings(str(turned))
        except StoreError:  # so damaged that it does not open
            told += 1
            continue
        told += bool(seen)
        if not seen:
            assert dump(turned) == values, f"byte {place} went unnoticed"
    assert told > 50


def dump(file: Path) -> list[object]:
    """Every value of every chained table, read without our code."""
    with closing(sqlite3.connect(file)) as connection:
        names = ["chain", *(table.name for table in schema.CHAINED)]
        return [connection.execute(f"SELECT * FROM {name} ORDER BY id").fetchall() for name in names]


def test_parallel_writers_lose_nothing_and_never_fork(store_url: str) -> None:
    """Three processes that also begin the store together."""
    writers = [python(WRITER, store_url, f"writer{number}", "12") for number in range(3)]
    printed = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 3, printed
    acknowledged = [int(number) for said, _ in printed for number in said.split()]
    assert len(set(acknowledged)) == 3 * 12 * 2
    with Store.open(store_url) as store:
        found = store.history.search(Query(limit=1000))
        assert {item.id for item in found} == set(acknowledged)
        assert {item.file for item in found} == {
            f"writer{who}-{number}-{side}.png" for who in range(3) for number in range(12) for side in "ab"
        }
        result = store.verify()
        assert result.findings == ()
        assert result.rows == 72 + 1, "the calibration, once"


def test_a_store_opens_while_another_process_writes_the_old_way(tmp_path: Path) -> None:
    """As when several begin it together: SQLite refuses to change its journal then, without waiting."""
    path = tmp_path / "store.db"
    Store.open(str(path)).close()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN IMMEDIATE")
        done = threading.Timer(0.5, other.execute, ["COMMIT"])
        done.start()
        with Store.open(str(path)) as store:
            assert store.verify().passed
        done.join()


def test_a_killed_writer_leaves_a_sound_log(store_url: str) -> None:
    Store.open(store_url).close()
    acknowledged: set[int] = set()
    for attempt in range(3):
        writer = python(WRITER, store_url, f"killed{attempt}", "100000")
        assert writer.stdout is not None
        for _ in range(5 + attempt):
            acknowledged |= {int(number) for number in writer.stdout.readline().split()}
        time.sleep(0.013 * attempt)
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate(timeout=30)
        whole = rest.rpartition("\n")[0]
        acknowledged |= {int(number) for number in whole.split()}
        with Store.open(store_url) as store:
            assert store.verify().passed
            found = store.history.search(Query(limit=100_000))
            assert acknowledged <= {item.id for item in found}, "what was acknowledged is there"
            parts = [item.part for item in found]
            assert all(parts.count(part) == 2 for part in parts), "both pictures of a part, or none"
            record_parts(store, CARD, {f"after{attempt}a": 0.1})
            record_parts(store, CARD, {f"after{attempt}a": 0.2})
            assert store.verify().passed


def test_the_migrations_make_the_schema(store_url: str) -> None:
    with Store.open(store_url) as store, store.database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


RELEASED = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""Every schema that was ever released."""


@pytest.mark.parametrize("revision", RELEASED)
def test_a_store_of_every_released_schema_opens(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    """And continues: also through a later step that adds a column, which must not change an old row's digest."""
    old = Database(store_url, revision=revision)
    filled_rows = tmp_path / "filled.db"
    filled(str(filled_rows))
    source = Database(str(filled_rows))
    with source.reading() as reading, old.writing() as writing:
        reflected = MetaData()
        known = set(inspect(writing).get_table_names())
        for table in (schema.chain, *(table for table in schema.CHAINED if table.name in known)):
            there = Table(table.name, reflected, autoload_with=writing)
            found = reading.execute(select(table)).mappings()
            rows = [{name: value for name, value in row.items() if name in there.c} for row in found]
            if rows:
                writing.execute(insert(there), rows)
    old.close()
    later = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, later)
    (later / "versions" / "r9999_later.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision, down_revision = '9999', '{RELEASED[-1]}'\n"
        "def upgrade():\n    op.add_column('inspections', sa.Column('lens', sa.Text))\n"
    )
    monkeypatch.setattr(database, "MIGRATIONS", later)
    with Store.open(store_url) as store:
        assert store.verify().rows == 6
        assert [item.part for item in store.history.search()] == ["4", "3", "2", "1"]
        record_parts(store, CARD, {"5": 0.5})
        assert store.verify().passed
        with store.database.reading() as connection:
            assert connection.execute(text("SELECT lens FROM inspections")).scalars().all() == [None] * 5
    monkeypatch.undo()
    with pytest.raises(StoreError, match="newer DefectFlow"):
        Store.open(store_url)


def test_every_schema_has_been_released_or_will_be() -> None:
    """A new migration must join RELEASED above, so that stores of it are opened in tests from then on."""
    files = sorted(file.stem for file in (database.MIGRATIONS / "versions").glob("r*.py"))
    assert [name[1:5] for name in files] == list(RELEASED)


def test_retention_leaves_a_log_that_verifies(store_url: str, tmp_path: Path) -> None:
    filled(store_url)
    now = datetime.now(UTC)
    with Store.open(store_url) as store:
        assert store.retain(by="cron") == (0, 0), "by default everything is kept"
        store.configure(StoreSettings(keep_rows_days=30, picture_folder=tmp_path), by="anna")
        assert store.retain(by="cron", now=now + timedelta(days=29)) == (0, 0)
        assert store.retain(by="cron", now=now + timedelta(days=31)) == (4, 0), "the review is younger than row 5"
        record_parts(store, CARD, {"5": 0.1})
        result = store.verify()
        assert result.findings == ()
        assert (result.rows, result.removed) == (1 + 1 + 1 + 1 + 1, 4)
        assert [item.part for item in store.history.search()] == ["5"]
    tamper(store_url, "DELETE FROM inspections WHERE part = '5'")
    assert findings(store_url) == ("inspections, row 9: is missing",), "a hole that no removal has announced"


def test_retention_of_copies(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    picture = tmp_path / "a.png"
    picture.write_bytes(b"any picture")
    with Store.open(str(tmp_path / "s.db")) as store:
        store.configure(StoreSettings(pictures="copy", keep_pictures_days=7), by="anna")
        seen = Seen("a.png", verdict(CARD, 0.1), "1", picture)
        (number,) = store.record(CARD, [seen], by="a", source="ui")
        item = store.history.get(number)
        assert store.retain(by="cron", now=now + timedelta(days=6)) == (0, 0)
        assert store.picture(item) is not None
        assert store.retain(by="cron", now=now + timedelta(days=8)) == (0, 1)
        assert store.picture(item) is None
        assert store.history.get(number) is not None, "the row stays, with its digest"
        assert store.verify().passed


def test_reading_continues_while_somebody_writes(store_url: str) -> None:
    filled(store_url)
    with Store.open(store_url) as writer, Store.open(store_url) as reader, writer.database.writing() as connection:
        connection.execute(select(schema.chain))
        assert len(reader.history.search()) == 4


def test_databases_are_apart(postgres: str) -> None:
    """A writer in one database does not wait for one in another: locks are the database's own."""
    first, second = (new_database(postgres, f"apart{number}") for number in range(2))
    with Store.open(first) as one, Store.open(second) as two, one.database.writing():
        record_parts(two, CARD, {"1": 0.1})
