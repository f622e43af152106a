#!/usr/bin/env python3
"""The PostgreSQL offset store against the real server, over TLS.

    Tests/stores/test_postgres.py PROGRAMS PLUGINS [WORD …]      (run.sh builds both)
"""

import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import common  # noqa: E402
from harness import ROOT, Programs, Tests, fill, main, raises, small_disk  # noqa: E402
from servers import Authority, Postgres, Proxy  # noqa: E402
from store_abi import CANCELLED, DENIED, FAILED, OK, RETRY_LATER, TOPIC, Refused, Store, status_of  # noqa: E402

test = Tests()
PASSWORD = "broker-Canary-Password-7"


class World:
    """The server, its authority, the programs."""


w = World()


def make(programs, plugins, work, ends):
    w.work = work
    w.programs = Programs(programs, plugins, "postgres-offsets", work)
    w.authority = Authority(work)
    w.other_authority = Authority(work, "other")
    w.password = work / "password"
    w.password.write_text(PASSWORD + "\n")
    w.config, w.store, w.password_text, w.bad_certificate = config, store, PASSWORD, "certificate verify failed"
    w.server = Postgres(work / "postgres", w.authority)
    ends.callback(w.server.stop)
    w.server.start()
    w.server.sql(f"CREATE ROLE broker LOGIN PASSWORD '{PASSWORD}'")
    database("skein")


def database(name):
    w.server.sql(f"CREATE DATABASE {name} OWNER broker")
    return name


def config(**more):
    return dict(host="localhost", port=w.server.port, database="skein", user="broker", password={"secret_file": str(w.password)},
                ca_file=str(w.authority.file)) | more


def store(**more):
    return Store(w.programs.plugin, config(**more))


common.add(test, w)


# ---- What is full ----


@test
def a_full_disk_stops_commits_and_damages_nothing():
    with small_disk(w.work / "small", 64, "postgres" if pathlib.Path("/proc/self").stat().st_uid == 0 else None) as disk:
        server = Postgres(w.work / "full", w.authority, data=disk / "data")
        # Only the data: a full disk of the log ends the server, which is the test of kill -9.
        server.start()
        try:
            server.sql(f"CREATE ROLE broker LOGIN PASSWORD '{PASSWORD}'")
            server.sql("CREATE DATABASE skein OWNER broker")
            with store(port=server.port) as full:
                full.until_up()
                acked = {}
                for n in range(20):
                    full.commit(f"g{n}", 1, [(p, n) for p in range(10)])
                    acked[f"g{n}"] = {p: n for p in range(10)}
                filler = fill(disk)
                status = OK
                for n in range(20, 3000):
                    status = status_of(lambda: full.commit(f"g{n}", 1, [(p, n) for p in range(10)], metadata="m" * 3000))
                    if status != OK:
                        break
                    acked[f"g{n}"] = {p: n for p in range(10)}
                assert status in (RETRY_LATER, CANCELLED), status
                filler.unlink()
                try:
                    server.wait(5)
                except RuntimeError:
                    server.start()
                full.until_up()
                for group, offsets in acked.items():
                    assert full.fetch(group) == offsets
                full.commit("after", 1, [(0, 1)])
        finally:
            server.stop()


# ---- Who it is, and who it talks to ----


def refused_with(sentence, **more):
    common.refused_with(w, sentence, **more)


@test
def wrong_credentials_are_no_fence():
    wrong = w.work / "wrong"
    wrong.write_text("wrong\n")
    refused_with("password authentication failed", password={"secret_file": str(wrong)})
    refused_with("password authentication failed", user="nobody")
    refused_with('database "none" does not exist', database="none")
    without = config()
    del without["password"]
    with Store(w.programs.plugin, without) as nobody:
        time.sleep(0.5)
        assert status_of(lambda: nobody.fetch("g")) == RETRY_LATER and "no password supplied" in nobody.log(), nobody.log()


@test
def another_host_name_is_refused():
    other = Postgres(w.work / "other-name", w.authority, names="DNS:db.example.com").start()
    try:
        refused_with("does not match host name", port=other.port)
    finally:
        other.stop()


@test
def a_server_without_tls_is_refused():
    clear = Postgres(w.work / "clear", w.authority).start("ssl=off")
    try:
        refused_with("server does not support SSL", port=clear.port)
    finally:
        clear.stop()


@test
def a_client_certificate_is_the_login():
    certificate, key = w.authority.issue("broker", "DNS:broker")
    key.chmod(0o600)
    strict = Postgres(w.work / "strict", w.authority)
    (strict.folder / "hba").write_text("local all all scram-sha-256\nhostssl all broker 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
    strict.start(f"ssl_ca_file={w.authority.file}", "fsync=off")
    try:
        strict.sql("CREATE ROLE broker LOGIN")
        strict.sql("CREATE DATABASE skein OWNER broker")
        with store(port=strict.port, client_certificate_file=str(certificate), client_key_file=str(key)) as known:
            known.until_up()
            known.commit("certified", 1, [(0, 1)])
            assert known.fetch("certified") == {0: 1}
            assert "fsync=off: committed offsets do not survive a power cut" in known.log()
        refused_with("requires a valid client certificate", port=strict.port)
        certificate, key = w.authority.issue("somebody", "DNS:somebody")
        key.chmod(0o600)
        refused_with("certificate authentication failed", port=strict.port, client_certificate_file=str(certificate), client_key_file=str(key))
    finally:
        strict.stop()


@test
def configurations_of_no_use_are_refused_with_a_cure():
    for more, sentence in [
        (dict(tls="off", host="db.example.com"), "clear text"), (dict(schema="a; DROP TABLE x"), "schema may have"),
        (dict(connections=0), "connections is 0"), (dict(password="inline"), "secrets stand in files"), (dict(prot=1), "not known"),
        (dict(password={"secret_file": "/nonexistent"}), "cannot be read"), (dict(client_key_file="/x"), "come together"),
    ]:
        why = raises(Refused, lambda: store(**more).close())
        assert sentence in why and PASSWORD not in why, why


# ---- Schema ----


def migration(number):
    text = (ROOT / f"Plugins/postgres-offsets/migrations/{number}.sql").read_text()
    return text.replace("@schema@", "skein")


VERSION_TABLE = ("CREATE SCHEMA skein; CREATE TABLE skein.schema_version (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now(),"
                 " applied_by text NOT NULL DEFAULT session_user);")


def version_1(name):
    """A database as version 1 of the schema left it, with two offsets in it."""
    database(name)
    w.server.sql(
        VERSION_TABLE + migration(1) + "INSERT INTO skein.schema_version (version) VALUES (1);"
        f"INSERT INTO skein.offsets VALUES ('default', 'old', '{TOPIC}', 0, 41, 2, 'note', 1700000000000, 7),"
        f" ('default', 'old', '{TOPIC}', 3, 43, 2, '', 1700000000000, 7)", name, "broker", PASSWORD)
    return name


@test
def a_schema_of_an_older_version_is_upgraded_once_however_many_begin():
    name = version_1("older")
    # They are held up until all of them are at it.
    holder = w.server.session(name, "admin", "admin-password")
    holder.stdin.write("BEGIN; LOCK TABLE skein.offsets;\n")
    holder.stdin.flush()
    while w.server.sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted", name) == "0":
        time.sleep(0.02)
    stores = [store(database=name) for _ in range(4)]
    while int(w.server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock'")) < 4:
        time.sleep(0.01)
    holder.stdin.write("COMMIT;\n")
    holder.stdin.close()
    holder.wait(10)
    for each in stores:
        each.until_up()
        assert each.fetch("old") == {0: 41, 3: 43}
    row = stores[0].rows("old")[0]
    assert (row["leader"], row["metadata"], row["ms"], row["epoch"]) == (2, "note", 1700000000000, 7), row
    assert status_of(lambda: stores[1].commit("old", 6, [(0, 50)])) == DENIED
    stores[2].commit("old", 8, [(0, 50)])
    for each in stores:
        each.close()
    # One of them did it, and the others waited; nobody ran into another.
    said = "\n".join(each.log() for each in stores)
    assert said.count("upgrading schema") == 1 and "no connection" not in said, said
    assert w.server.sql("SELECT string_agg(version::text, ',' ORDER BY version) FROM skein.schema_version", name) == "1,2"


@test
def an_upgrade_that_fails_leaves_the_old_schema_whole():
    name = version_1("blocked")
    w.server.sql("CREATE TABLE skein.committers (mine integer)", name, "broker", PASSWORD)
    with store(database=name) as blocked:
        time.sleep(0.6)
        assert status_of(lambda: blocked.fetch("old")) == RETRY_LATER
        assert '"committers" already exists' in blocked.log(), blocked.log()
        state = "SELECT max(version) || (SELECT attnotnull FROM pg_attribute WHERE attrelid = 'skein.offsets'::regclass AND attname = 'next_offset')::text FROM skein.schema_version"
        assert w.server.sql(state, name) == "1true"
        w.server.sql("DROP TABLE skein.committers", name, "broker", PASSWORD)
        blocked.until_up()
        assert blocked.fetch("old") == {0: 41, 3: 43} and w.server.sql(state, name) == "2false"


@test
def a_schema_of_a_newer_version_is_left_alone():
    name = database("newer")
    w.server.sql(VERSION_TABLE + "INSERT INTO skein.schema_version (version) VALUES (99)", name, "broker", PASSWORD)
    refused_with("install a newer plug-in", database=name)
    assert w.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'skein'", name) == "1"


@test
def without_the_right_to_migrate_it_says_what_is_missing():
    refused_with("run the migrations", database=version_1("by-hand".replace("-", "_")), migrate=False)


# ---- Commits ----


@test
def one_refused_commit_of_a_batch_refuses_no_other():
    with store(connections=1) as one:
        one.until_up()
        for n in range(40):
            one.commit(f"batch-{n}", 5, [(0, 10)])
        calls = [one.begin("commit", one.commit_request(f"batch-{n}", 4 if n % 7 == 3 else 5, [(0, 20 + n)])) for n in range(40)]
        ends = [status_of(lambda call=call: one.wait(call)) for call in calls]
        assert ends == [DENIED if n % 7 == 3 else OK for n in range(40)], ends
        for n in range(40):
            assert one.fetch(f"batch-{n}") == {0: 10 if n % 7 == 3 else 20 + n}


@test
def what_fails_at_the_very_end_of_its_transaction_is_not_acknowledged():
    w.server.sql(
        "CREATE FUNCTION skein.late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'late' USING ERRCODE = '53100'; END $$;"
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON skein.offsets DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        " WHEN (NEW.group_name = 'late') EXECUTE FUNCTION skein.late(); GRANT EXECUTE ON FUNCTION skein.late TO broker", "skein")
    try:
        with store(connections=1) as late:
            late.until_up()
            assert status_of(lambda: late.commit("late", 1, [(0, 1)])) == RETRY_LATER and late.fetch("late") == {}
            calls = [late.begin("commit", late.commit_request(group, 1, [(0, 1)])) for group in ("x", "y", "late", "z", "late", "v")]
            ends = [status_of(lambda call=call: late.wait(call)) for call in calls]
            assert ends == [OK, OK, RETRY_LATER, OK, RETRY_LATER, OK], ends
            assert [late.fetch(group) for group in ("x", "late", "v")] == [{0: 1}, {}, {0: 1}]
    finally:
        w.server.sql("DROP FUNCTION skein.late CASCADE", "skein")


@test
def a_commit_is_flushed_whatever_the_default_of_database_and_role_is():
    for setting, seen in (("off", "on"), ("remote_write", "remote_write")):
        name = database(f"flushed_{setting}")
        w.server.sql(f"ALTER DATABASE {name} SET synchronous_commit = {setting}")
        with store(database=name) as flushed:
            flushed.until_up()
            w.server.sql(
                "CREATE TABLE seen (value text); GRANT INSERT ON seen TO broker; CREATE FUNCTION skein.look() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;"
                "CREATE TRIGGER look AFTER INSERT ON skein.offsets FOR EACH ROW EXECUTE FUNCTION skein.look()", name)
            flushed.commit("g", 1, [(0, 1)])
        assert w.server.sql("SELECT string_agg(value, ',') FROM seen", name) == seen


@test
def commits_of_one_group_keep_their_order_whatever_is_refused_between():
    with store() as order:
        order.until_up()
        order.commit("fenced", 9, [(0, 1)])
        calls = []
        for n in range(1, 301):
            calls.append(order.begin("commit", order.commit_request("ordered", 1, [(0, n)])))
            if n % 10 == 0:
                order.begin("commit", order.commit_request("fenced", 8, [(0, n)]))
        for call in calls:
            order.wait(call)
        assert order.fetch("ordered") == {0: 300} and order.fetch("fenced") == {0: 1}


@test
def commits_keep_their_order_while_connections_come_and_go():
    for _ in range(3):
        with store(connections=8) as early:
            early.until_up()
            calls = []
            for n in range(1, 401):
                calls += [(g, early.begin("commit", early.commit_request(g, n // 400 + 1, [(0, n)]))) for g in ("a", "b", "c")]
                if n == 200:
                    w.server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'skein'")
            for group, call in calls:
                assert status_of(lambda: early.wait(call)) == OK, group
            for group in "abc":
                assert early.fetch(group) == {0: 400}
                early.remove(group)


@test
def what_no_table_takes_is_refused_for_good():
    with store() as odd:
        odd.until_up()
        assert status_of(lambda: odd.commit("utf", 1, [(0, 1)], metadata=b"\xff\xfe")) == FAILED
        assert status_of(lambda: odd.commit("nul\0x", 1, [(0, 1)])) == FAILED
        assert status_of(lambda: odd.commit("topic", 1, [(0, 1)], topic="'; DROP TABLE skein.offsets; --")) == FAILED
        odd.commit("'; DROP TABLE skein.offsets; --", 1, [(0, 1)], metadata="{\"},\\{NULL,")
        assert odd.rows("'; DROP TABLE skein.offsets; --")[0]["metadata"] == "{\"},\\{NULL,"
        # The last of two offsets for one partition holds.
        odd.commit("twice", 1, [(0, 5), (1, 1), (0, 7)])
        assert odd.fetch("twice") == {0: 7, 1: 1}


@test
def connections_that_the_server_ends_come_back():
    with store() as ended:
        ended.until_up()
        for n in range(1, 6):
            w.server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'skein'")
            ended.commit("ended", 1, [(0, n)])
        assert ended.fetch("ended") == {0: 5}
    assert w.server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'skein'") == "0"


@test
def it_takes_no_more_connections_than_it_may():
    with store(connections=3) as bound:
        bound.until_up()
        calls = [bound.begin("commit", bound.commit_request(f"bound-{n}", 1, [(0, 1)])) for n in range(500)]
        assert int(w.server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'skein'")) <= 3
        for call in calls:
            bound.wait(call)


# ---- A consumer's own transaction ----


def documented(name):
    """A block of SQL in Docs/offset-stores.md, marked by a word."""
    text = (ROOT / "Docs/offset-stores.md").read_text()
    return text.split(f"```sql {name}\n", 1)[1].split("```", 1)[0]


@test
def the_least_rights_of_the_page_are_enough():
    name = database("least")
    w.server.sql(
        VERSION_TABLE + migration(1) + migration(2) + "INSERT INTO skein.schema_version (version) VALUES (1), (2);"
        f"CREATE ROLE skein LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE billing_app LOGIN PASSWORD 'app-password'; {documented('least')}"
        f"{documented('consumer')}", name)
    with store(database=name, user="skein", migrate=False) as least:
        least.until_up()
        least.commit("billing", 1, [(0, 1), (1, 1)])
        assert least.fetch("billing") == least.fetch("billing", [0, 1]) == {0: 1, 1: 1} and len(least.scan(1)) == 2
        least.remove("billing", [1])
        assert "42501" in w.server.sql("DROP TABLE skein.offsets", name, "skein", PASSWORD, check=False)
        w.server.sql(f"SELECT skein.skein_commit('default', 'billing', '{TOPIC}', 0, 9, 2)", name, "billing_app", "app-password")
        assert least.fetch("billing") == {0: 9}
        least.remove("billing")


def application(text, check=True):
    return w.server.sql(text, "skein", "app", "app-password", check)


@test
def a_consumer_commits_its_offset_in_its_own_transaction():
    with store() as skein:
        skein.until_up()
        w.server.sql(
            "CREATE ROLE app LOGIN PASSWORD 'app-password'; GRANT USAGE ON SCHEMA skein TO app;"
            "GRANT EXECUTE ON FUNCTION skein.skein_commit, skein.skein_claim TO app;"
            "INSERT INTO skein.committers VALUES ('app', 'default', 'billing');"
            "CREATE TABLE booked (id bigint PRIMARY KEY); GRANT ALL ON booked TO app", "skein")
        claim = f"SELECT skein.skein_claim('default', 'billing', '{TOPIC}', 0, %d)"
        commit = f"SELECT skein.skein_commit('default', 'billing', '{TOPIC}', 0, %d, %d)"
        # A claim gives where to go on, and is no offset yet.
        assert application(claim % 3) == "" and skein.fetch("billing") == {}
        application(f"BEGIN; INSERT INTO booked VALUES (1); {commit % (101, 3)}; COMMIT")
        assert skein.fetch("billing") == {0: 101}
        # Rolled back: neither the record's effect nor the offset.
        application(f"BEGIN; INSERT INTO booked VALUES (2); {commit % (102, 3)}; ROLLBACK")
        assert skein.fetch("billing") == {0: 101}
        # Its successor claims, and has committed nothing yet: the zombie is out all the same, and what it did is undone.
        assert application(claim % 4) == "101"
        error = application(f"BEGIN; INSERT INTO booked VALUES (3); {commit % (103, 3)}; COMMIT", check=False)
        assert "SK001" in error and "This member has lost the partition" in error, error
        assert application("SELECT string_agg(id::text, ',') FROM booked") == "1" and skein.fetch("billing") == {0: 101}
        assert "SK001" in application(claim % 3, check=False)
        application(f"BEGIN; INSERT INTO booked VALUES (3); {commit % (103, 4)}; COMMIT")
        row = skein.rows("billing")[0]
        assert (row["offset"], row["epoch"]) == (103, 4) and row["ms"] > 1_700_000_000_000, row
        # The broker's own commits meet the same fence.
        assert status_of(lambda: skein.commit("billing", 3, [(0, 200)])) == DENIED
        # Back in one epoch, another group, no epoch, another role, the table itself: no.
        assert "SK001" in application(commit % (50, 4), check=False)
        assert "42501" in application(commit.replace("billing", "payroll") % (1, 1), check=False)
        assert "22023" in application(commit % (1, 0), check=False)
        w.server.sql("CREATE ROLE other LOGIN PASSWORD 'app-password'; GRANT USAGE ON SCHEMA skein TO other;"
                     "GRANT EXECUTE ON FUNCTION skein.skein_commit, skein.skein_claim TO other", "skein")
        for call in (commit % (104, 9), claim % 9):
            assert "may not commit" in w.server.sql(call, "skein", "other", "app-password", check=False)
        assert "42501" in application("UPDATE skein.offsets SET next_offset = 0", check=False)
        assert "42501" in application("SELECT skein.commit_offsets('default', 'billing', 0, '{}', '{}', '{}', '{}', '{}', '{}')", check=False)


@test
def a_transaction_that_holds_a_row_holds_up_no_other_group_for_long():
    with store(connections=1) as skein:
        skein.until_up()
        skein.commit("held", 1, [(0, 1)])
        held = threading.Thread(target=lambda: w.server.sql(
            "BEGIN; SELECT FROM skein.offsets WHERE group_name = 'held' FOR UPDATE; SELECT pg_sleep(4); COMMIT", "skein"))
        held.start()
        while w.server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4)%' AND pid <> pg_backend_pid()") == "0":
            time.sleep(0.02)
        first = skein.begin("commit", skein.commit_request("held", 1, [(0, 2)]), 3)
        start = time.monotonic()
        skein.commit("free", 1, [(0, 1)])
        assert time.monotonic() - start < 3
        assert status_of(lambda: skein.wait(first)) in (RETRY_LATER, CANCELLED)
        held.join()
        skein.commit("held", 1, [(0, 2)])


@test
def a_consumer_that_hangs_in_its_transaction_keeps_its_successor_waiting_only_so_long():
    name = "SELECT skein.skein_%s('default', 'hung', '" + TOPIC + "', 0, %s)"
    w.server.sql(
        "CREATE ROLE hung LOGIN PASSWORD 'app-password'; GRANT USAGE ON SCHEMA skein TO hung;"
        "GRANT EXECUTE ON FUNCTION skein.skein_commit, skein.skein_claim TO hung; INSERT INTO skein.committers VALUES ('hung', 'default', 'hung');"
        f"{documented('hung').replace('billing_app', 'hung').replace('30s', '1s')}", "skein")

    def hung(text):
        return w.server.sql(text, "skein", "hung", "app-password", check=False)

    ends = []
    # psql has no more to say, and its session stays: as a process that was stopped.
    hangs = w.server.session("skein", "hung", "app-password")
    try:
        hangs.stdin.write(f"BEGIN; {name % ('commit', '41, 3')};\n")
        hangs.stdin.flush()
        while w.server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'hung' AND state = 'idle in transaction'") == "0":
            time.sleep(0.02)
        start = time.monotonic()
        successor = threading.Thread(target=lambda: ends.append(hung(name % ("claim", "4"))))
        successor.start()
        successor.join(10)
        assert ends == [""] and 0.3 < time.monotonic() - start < 5, ends  # none was committed
        hangs.stdin.write("COMMIT;\n")
        hangs.stdin.flush()
    finally:
        hangs.stdin.close()
        hangs.wait(10)
    assert hung(name % ("claim", "4")) == ""


if __name__ == "__main__":
    sys.exit(main(test, make))
