#!/usr/bin/env python3
"""The embedded offset store in a process of its own, on a real disk: killed, without room, with files of others.

    Tests/stores/test_sqlite.py PROGRAMS PLUGINS [WORD …]      (run.sh builds the programs)
"""

import contextlib
import json
import pathlib
import random
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from harness import Member, Tests, fill, main, small_disk  # noqa: E402

test = Tests()
TOPIC = bytes.fromhex("51570000000000010000000000000001")  # StoreDriver's


class World:
    """The program and where it works."""


w = World()


def make(programs, _plugins, work, _ends):
    w.work, w.driver = work, str(pathlib.Path(programs) / "StoreDriver")


def folder(name):
    path = w.work / name
    path.mkdir()
    return path


def driver(what, where, *more):
    return [w.driver, what, "--sqlite", str(where), *more]


@contextlib.contextmanager
def committing(where, group, *more):
    member = Member(driver("commit", where, "--group", group, "--pause", "0", *more), w.work / f"{group}.acked")
    try:
        yield member
    finally:
        member.stop()


def verify(where, group, acked=None):
    command = driver("verify", where, "--group", group, "--acked", str(acked or w.work / f"{group}.acked"))
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def kept(where, group, acked=None):
    run = verify(where, group, acked)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]


def refused(where, words):
    """It does not open, says why, and does not crash."""
    acked = w.work / "any.acked"
    acked.write_text("acked 4 44\n")
    run = verify(where, "any", acked)
    assert run.returncode > 0 and words in run.stdout + run.stderr, (run.returncode, run.stdout + run.stderr)


# ---- Promises ----


@test
def it_passes_the_suite_of_every_store():
    run = subprocess.run(driver("suite", folder("suite")), capture_output=True, text=True, timeout=200)
    rows = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    broken = [f"{row['case']}: {row['broken']}" for row in rows if not row["ok"]]
    assert run.returncode == 0 and not broken and len(rows) >= 20, (run.returncode, broken, len(rows), run.stderr[-2000:])
    return len(rows)


@test
def kill_9_in_the_middle_of_commits_loses_nothing():
    where, dice = folder("killed"), random.Random(5)
    rounds = 12
    for number in range(rounds):
        with committing(where, f"killed-{number}", "--partitions", "7") as member:
            member.wait(1)
            time.sleep(dice.random() * 0.15)
            member.process.kill()
            member.process.wait()
            member.reader.join(10)
    # Each group was killed in the middle once, and lived through the kills of those after it.
    for number in range(rounds):
        kept(where, f"killed-{number}")
    return rounds


@test
def a_second_opener_is_refused():
    where = folder("twice")
    with committing(where, "twice") as member:
        member.wait(5)
        refused(where, "lock")
        member.wait(5)
    kept(where, "twice")


# ---- Room ----


@test
def a_full_disk_stops_commits_and_damages_nothing():
    with small_disk(w.work / "small", 16) as disk:
        where = disk / "data"
        where.mkdir()
        with committing(where, "full") as member:
            member.wait(5)
            filler = fill(disk)
            member.wait_failure()
            assert "OFFSET_STORE_UNAVAILABLE" in member.failures[-1] and "no space" in member.failures[-1], member.failures[-1]
            # It goes on by itself, without being opened again.
            filler.unlink()
            member.wait(50)
            filler = fill(disk)
            member.wait_failure()
            member.process.kill()
            member.process.wait()
            member.reader.join(10)
        # Killed with the disk still full: what was acknowledged can be read, if there is room to open it at all.
        filler.unlink()
        kept(where, "full")
        with committing(where, "after") as member:
            member.wait(5)
        kept(where, "after")
        kept(where, "full")


# ---- Files of others ----


def older(where, version):
    """As version 1 wrote it: without member epochs."""
    with contextlib.closing(sqlite3.connect(where / "offsets.db", isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("CREATE TABLE schema(version INTEGER NOT NULL)")
        file.execute("INSERT INTO schema VALUES(?)", (version,))
        file.execute(
            "CREATE TABLE offsets(tenant BLOB NOT NULL, name BLOB NOT NULL, topic BLOB NOT NULL, partition INTEGER NOT NULL,"
            " position INTEGER NOT NULL, leader_epoch INTEGER NOT NULL, committed_ms INTEGER NOT NULL, metadata BLOB NOT NULL,"
            " PRIMARY KEY(tenant, name, topic, partition)) WITHOUT ROWID")
        for group in (b"old", b"other"):
            for partition in range(4):
                file.execute("INSERT INTO offsets VALUES(?, ?, ?, ?, ?, 1, 9, ?)", (b"driver", group, TOPIC, partition, 44 + partition, b"m"))


@test
def a_schema_of_an_older_version_is_taken_over():
    where = folder("older")
    older(where, 1)
    acked = w.work / "older.acked"
    acked.write_text("".join(f"acked {p} {44 + p}\n" for p in range(4)))
    kept(where, "old", acked)
    kept(where, "other", acked)
    with committing(where, "old", "--partitions", "4", "--from", "50") as member:
        member.wait(20)
    kept(where, "old")
    kept(where, "other", acked)
    with contextlib.closing(sqlite3.connect(where / "offsets.db")) as file:
        assert file.execute("SELECT version FROM schema").fetchall() == [(2,)]
        assert file.execute("SELECT DISTINCT member_epoch FROM offsets WHERE name = ?", (b"other",)).fetchall() == [(0,)]
        assert file.execute("SELECT DISTINCT member_epoch FROM offsets WHERE name = ?", (b"old",)).fetchall() == [(1,)]


@test
def a_schema_of_a_newer_version_is_refused():
    where = folder("newer")
    older(where, 3)
    before = (where / "offsets.db").read_bytes()
    refused(where, "made by a newer broker")
    with contextlib.closing(sqlite3.connect(where / "offsets.db")) as file:
        assert file.execute("SELECT count(*) FROM offsets").fetchall() == [(8,)]
    assert len((where / "offsets.db").read_bytes()) == len(before)


@test
def a_damaged_file_is_refused_and_left_alone():
    where = folder("damaged")
    with committing(where, "damaged", "--partitions", "500") as member:
        member.wait(600)
    kept(where, "damaged")
    file = where / "offsets.db"
    whole = file.read_bytes()
    dice = random.Random(7)
    # The header; every page but the first; a page here and there; cut off in the middle of one; nothing of SQLite at all.
    cases = {
        "header": b"\0" * 100 + whole[100:],
        "pages": whole[:4096] + dice.randbytes(len(whole) - 4096),
        "cut": whole[:4096 * 3 + 100],
        "text": b"these are not the offsets that you look for\n" * 200,
    }
    for name, content in cases.items():
        file.write_bytes(content)
        for beside in where.glob("offsets.db-*"):
            beside.unlink()
        run = verify(where, "damaged")
        said = run.stdout + run.stderr
        assert run.returncode > 0 and "LOST" not in said and "sqlite" in said, (name, run.returncode, said)
    file.write_bytes(whole)
    kept(where, "damaged")
    return len(cases)


if __name__ == "__main__":
    sys.exit(main(test, make))
