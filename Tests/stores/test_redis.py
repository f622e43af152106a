#!/usr/bin/env python3
"""The Redis offset store against the real server, over TLS.

    Tests/stores/test_redis.py PROGRAMS PLUGINS [WORD …]      (run.sh builds both)
"""

import pathlib
import random
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import common  # noqa: E402
from harness import ROOT, Programs, Tests, fill, main, raises, small_disk  # noqa: E402
from servers import Authority, Proxy, Redis  # noqa: E402
from store_abi import CANCELLED, DENIED, FAILED, OK, RETRY_LATER, TOPIC, Refused, Store, status_of  # noqa: E402

test = Tests()
PASSWORD = "broker-Canary-Password-7"


def acl(default="off ~* &* +@all"):
    """The users as Docs/offset-stores.md gives them; `default` as ACL SETUSER default off leaves it, or with fewer rights."""
    text = (ROOT / "Docs/offset-stores.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("ACL SETUSER skein "))
    rules = line.removeprefix("ACL SETUSER skein ").replace(">PASSWORD", f">{PASSWORD}")
    return f"user default {default}\nuser admin on >admin-password ~* &* +@all\nuser skein {rules}\n"


class World:
    """The server, its authority, the programs."""


w = World()


def make(programs, plugins, work, ends):
    w.work = work
    w.programs = Programs(programs, plugins, "redis-offsets", work)
    w.authority = Authority(work)
    w.other_authority = Authority(work, "other")
    w.password = work / "password"
    w.password.write_text(PASSWORD + "\n")
    w.config, w.store, w.password_text, w.bad_certificate = config, store, PASSWORD, "certificate is refused"
    w.server = server("redis")
    ends.callback(w.server.stop)
    w.server.start()


def server(name, **more):
    made = Redis(w.work / name, w.authority, **more)
    made.acl.write_text(acl())
    return made


def config(**more):
    return dict(host="localhost", port=w.server.port, user="skein", password={"secret_file": str(w.password)},
                ca_file=str(w.authority.file)) | more


def store(**more):
    return Store(w.programs.plugin, config(**more))


common.add(test, w)


@test
def does_with_the_rights_of_the_documented_user():
    w.server.cli("acl", "log", "reset")
    with store() as least:
        least.until_up()
        least.commit("least", 1, [(0, 1), (1, 1)])
        assert least.fetch("least") == least.fetch("least", [0, 1]) == {0: 1, 1: 1}
        least.remove("least", [0])
        least.remove("least")
        assert least.scan(10) is not None
    assert w.server.cli("acl", "log").strip() == "", w.server.cli("acl", "log")


@test
def a_server_that_drops_transactions_is_given_none():
    # The user `default` of this server has no rights (redis#14541).
    drops = server("drops")
    drops.acl.write_text(acl("off"))
    drops.start()
    try:
        with store(port=drops.port) as killed:
            killed.until_up()
            killed.tenant = "killed"
            for group in ("a", "b", "c"):
                killed.commit(group, 1, [(p, p + 1) for p in range(300)])
            killed.commit("b", 2, [(0, 9), (1, 9)])
            killed.remove("c")
            killed.remove("a", list(range(290)))
            killed.commit("most", 1, [(p, p + 1) for p in range(3500)])
            # One more would be a transaction, acknowledged and then dropped.
            assert status_of(lambda: killed.commit("more", 1, [(p, p + 1) for p in range(3501)])) == RETRY_LATER
            assert "ACL SETUSER default off ~* &* +@all" in killed.log(), killed.log()
            drops.kill()
            drops.start()
            killed.until_up()
            expected = [("a", p, p + 1) for p in range(290, 300)] + [("b", p, 9 if p < 2 else p + 1) for p in range(300)]
            expected += [("most", p, p + 1) for p in range(3500)]
            assert [(group, p, offset) for group, _, p, offset in killed.scan(1000)] == expected
            assert killed.fetch("b", [0, 5]) == {0: 9, 5: 6} and killed.fetch("c") == {}
            # What a removal leaves in the index, where it was ended between its two writes, is no group.
            drops.cli("zadd", "skein:{killed}:groups", 0, "left-over")
            assert [(group, p, offset) for group, _, p, offset in killed.scan(1000)] == expected
        assert drops.cli("acl", "log").strip() == "", drops.cli("acl", "log")[:600]
    finally:
        drops.kill()


@test
def a_commit_of_the_largest_size_survives_a_kill_whole():
    with store() as large:
        large.until_up()
        large.commit("largest", 1, [(p, p + 1) for p in range(10_000)])
        w.server.kill()
        w.server.start()
        large.until_up()
        for first in (0, 3_400, 9_800):
            some = list(range(first, first + 200))
            assert large.fetch("largest", some) == {p: p + 1 for p in some}
        large.remove("largest")


# ---- What is full ----


@test
def memory_that_is_full_stops_commits_whole():
    with store() as full:
        full.until_up()
        full.commit("full", 1, [(p, 1) for p in range(50)])
        w.server.cli("config", "set", "maxmemory", "1mb")
        try:
            assert status_of(lambda: full.commit("full", 2, [(p, 2) for p in range(100)])) == RETRY_LATER
            assert full.fetch("full") == {p: 1 for p in range(50)}
            assert "OOM" in full.log()
        finally:
            w.server.cli("config", "set", "maxmemory", "0")
        full.commit("full", 2, [(p, 2) for p in range(100)])
        assert full.fetch("full") == {p: 2 for p in range(100)}


@test
def a_full_disk_stops_commits_and_damages_nothing():
    with small_disk(w.work / "small", 8) as disk:
        for durability in ("everysec", "always"):
            full_server = Redis(w.work / f"full-{durability}", w.authority)
            full_server.acl.write_text(acl())
            data = disk / durability
            data.mkdir()
            start = lambda: full_server.start("dir", data, "appendfsync", durability, "auto-aof-rewrite-percentage", "0")  # noqa: E731
            start()
            try:
                with store(port=full_server.port, durability=durability) as full:
                    full.until_up()
                    acked, filler, status = {}, fill(disk), OK
                    for n in range(2000):
                        status = status_of(lambda: full.commit(f"g{n}", 1, [(p, n) for p in range(10)], metadata="m" * 3000, seconds=3))
                        if status != OK:
                            break
                        acked[f"g{n}"] = {p: n for p in range(10)}
                    assert status in (RETRY_LATER, CANCELLED), status
                    filler.unlink()
                    if full_server.process.poll() is not None:  # that is how Redis takes it with appendfsync always
                        start()
                    deadline = time.monotonic() + 20
                    while status_of(lambda: full.commit("after", 1, [(0, 1)])) != OK:
                        assert time.monotonic() < deadline, full.log()
                        time.sleep(0.1)
                    for group, offsets in acked.items():
                        assert full.fetch(group) == offsets, group
            finally:
                full_server.kill()


# ---- Who it is, and who it talks to ----


def refused_with(sentence, **more):
    common.refused_with(w, sentence, **more)


@test
def wrong_credentials_are_no_fence():
    wrong = w.work / "wrong"
    wrong.write_text("wrong\n")
    refused_with("WRONGPASS", password={"secret_file": str(wrong)})
    refused_with("WRONGPASS", user="nobody")
    without = config()
    del without["password"], without["user"]
    with Store(w.programs.plugin, without) as nobody:
        time.sleep(0.5)
        assert status_of(lambda: nobody.fetch("g")) == RETRY_LATER and "NOAUTH" in nobody.log(), nobody.log()
    # A right that is missing: nothing is written.
    w.server.cli("acl", "setuser", "poor", "on", f">{PASSWORD}", "~skein:*", "-@all", "+select", "+info", "+config|get", "+eval", "+evalsha",
                 "+hget", "+zadd", "+hgetall")
    with store(user="poor") as poor:
        poor.until_up()
        assert status_of(lambda: poor.commit("poor", 1, [(0, 1)])) == RETRY_LATER
        assert poor.fetch("poor") == {} and "can't run this command" in poor.log(), poor.log()


@test
def another_host_name_is_refused():
    other = server("other-name", names="DNS:redis.example.com").start()
    try:
        refused_with("ostname mismatch", port=other.port)
        refused_with("IP address mismatch", port=other.port, host="127.0.0.1")
    finally:
        other.stop()


@test
def a_server_without_tls_is_refused():
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=answer_all, args=(listener, b"+PONG\r\n"), daemon=True).start()
    refused_with("TLS", port=listener.getsockname()[1])
    listener.close()


@test
def a_server_that_asks_for_a_certificate_gets_it():
    certificate, key = w.authority.issue("broker", "DNS:broker")
    strict = server("strict")
    strict.client = (certificate, key)
    strict.start("tls-auth-clients", "yes")
    try:
        with store(port=strict.port, client_certificate_file=str(certificate), client_key_file=str(key)) as known:
            known.until_up()
            known.commit("certified", 1, [(0, 1)])
            assert known.fetch("certified") == {0: 1}
        # By an alert, or by a reset that overtakes it: the handshake was over for us.
        refused_with("TLS: ", port=strict.port)
        unknown = w.other_authority.issue("stranger", "DNS:stranger")
        refused_with("TLS: ", port=strict.port, client_certificate_file=str(unknown[0]), client_key_file=str(unknown[1]))
    finally:
        strict.stop()


@test
def configurations_of_no_use_are_refused_with_a_cure():
    without_password = config()
    del without_password["password"]
    for made, sentence in [
        (config(tls="off", host="redis.example.com"), "clear text"), (config(prefix="a{b"), "prefix may not"),
        (config(durability="perhaps"), "durability is none of"), (config(password="inline"), "secrets stand in files"),
        (config(prot=1), "not known"), (without_password, "no password"), (config(password={"secret_file": "/nonexistent"}), "cannot be read"),
    ]:
        why = raises(Refused, lambda: Store(w.programs.plugin, made).close())
        assert sentence in why and PASSWORD not in why, why


# ---- What the server promises ----


@test
def a_server_that_keeps_nothing_is_refused_unless_that_is_wanted():
    memory = server("memory").start("appendonly", "no")
    lazy = server("lazy").start("appendfsync", "everysec")
    try:
        refused_with("appendonly off", port=memory.port)
        refused_with("appendonly off", port=memory.port, durability="everysec")
        with store(port=memory.port, durability="none") as none:
            none.until_up()
            none.commit("g", 1, [(0, 1)])
            assert "are lost when it ends" in none.log()
        refused_with("does not flush before it acknowledges", port=lazy.port)
        with store(port=lazy.port, durability="everysec") as everysec:
            everysec.until_up()
        lazy.cli("config", "set", "appendfsync", "no")
        refused_with("appendfsync no", port=lazy.port, durability="everysec")
        lazy.cli("config", "set", "appendfsync", "always")
        lazy.cli("config", "set", "no-appendfsync-on-rewrite", "yes")
        refused_with("does not flush before it acknowledges", port=lazy.port)
        lazy.cli("config", "set", "no-appendfsync-on-rewrite", "no")
        with store(port=lazy.port) as always:
            always.until_up()
        lazy.cli("config", "set", "maxmemory", "1gb")
        lazy.cli("config", "set", "maxmemory-policy", "allkeys-lru")
        refused_with("evicts any key", port=lazy.port, durability="everysec")
    finally:
        memory.stop()
        lazy.stop()


@test
def a_commit_waits_for_replicas_if_it_is_told_to():
    replica = server("replica")
    with store(wait_replicas=1, wait_ms=200) as careful:
        careful.until_up()
        assert status_of(lambda: careful.commit("replicated", 1, [(0, 1)])) == CANCELLED
        assert "fewer than 1 replica(s)" in careful.log()
    with store(wait_replicas=1, wait_ms=4000) as careful:
        careful.until_up()
        w.server.cli("acl", "setuser", "replica", "on", ">replica-password", "+psync", "+replconf", "+ping")
        replica.start()
        for command in (("config", "set", "masteruser", "replica"), ("config", "set", "masterauth", "replica-password"),
                        ("replicaof", "localhost", w.server.port)):
            replica.cli(*command)
        try:
            deadline = time.monotonic() + 20
            while "master_link_status:up" not in replica.cli("info", "replication"):
                assert time.monotonic() < deadline, (replica.folder / "log").read_text()[-1500:]
                time.sleep(0.05)
            careful.commit("replicated", 1, [(0, 2)])
            # The replica itself takes no commits; once it is the primary, it has what was acknowledged.
            refused_with("it is a replica", port=replica.port)
            replica.cli("replicaof", "no", "one")
            with store(port=replica.port) as promoted:
                promoted.until_up()
                assert promoted.fetch("replicated") == {0: 2}
        finally:
            replica.stop()


@test
def a_primary_that_becomes_a_replica_is_left_and_found_again():
    two = server("two").start()
    try:
        with store(port=two.port) as moved:
            moved.until_up()
            moved.commit("moved", 1, [(0, 1)])
            two.cli("replicaof", "127.0.0.1", "1")
            assert status_of(lambda: moved.commit("moved", 1, [(0, 2)])) == RETRY_LATER
            two.cli("replicaof", "no", "one")
            moved.until_up()
            moved.commit("moved", 1, [(0, 2)])
    finally:
        two.stop()


# ---- Commits ----


@test
def scripts_that_the_server_forgets_are_sent_again_in_order():
    with store() as forgets:
        forgets.until_up()
        calls = []
        for n in range(1, 401):
            calls.append(forgets.begin("commit", forgets.commit_request("scripts", 1, [(0, n)])))
            if n % 100 == 50:
                w.server.cli("script", "flush")
        for call in calls:
            forgets.wait(call)
        assert forgets.fetch("scripts") == {0: 400}
    proxy = Proxy(w.server.port)
    with store(port=proxy.port) as forgets:
        forgets.until_up()
        forgets.commit("behind", 1, [(0, 1)])
        proxy.set("hold")
        calls = [forgets.begin("commit", forgets.commit_request("behind", 1, [(0, n)])) for n in range(2, 100)]
        w.server.cli("script", "flush")
        proxy.set("pass")
        for n in range(100, 500):
            calls.append(forgets.begin("commit", forgets.commit_request("behind", 1, [(0, n)])))
            time.sleep(0.0005)
        for call in calls:
            forgets.wait(call)
        assert forgets.fetch("behind") == {0: 499}
    proxy.close()


@test
def numbers_of_64_bits_are_compared_whole():
    top = 2**63 - 1
    with store() as wide:
        wide.until_up()
        wide.commit("wide", 3, [(0, top - 1)])
        assert status_of(lambda: wide.commit("wide", 3, [(0, top - 2)])) == DENIED
        wide.commit("wide", 3, [(0, top)])
        assert status_of(lambda: wide.commit("wide", 3, [(0, 999)])) == DENIED
        wide.commit("wide", 2**31 - 1, [(0, 999)])
        assert wide.fetch("wide") == {0: 999}


@test
def what_is_none_of_ours_is_refused_and_left():
    with store() as odd:
        odd.until_up()
        odd.commit("odd", 1, [(0, 1)])
        key = "skein:{default}:o:odd"
        w.server.cli("-h", "127.0.0.1", "hset", key, f"{TOPIC}:0000000000", "garbage")
        assert status_of(lambda: odd.commit("odd", 2, [(0, 2)])) == FAILED
        assert status_of(lambda: odd.fetch("odd")) == FAILED and status_of(lambda: odd.fetch("odd", [0])) == FAILED
        w.server.cli("del", key)
        w.server.cli("set", key, "a string")
        assert status_of(lambda: odd.fetch("odd", [0])) == RETRY_LATER
        w.server.cli("del", key)
        assert status_of(lambda: odd.commit("nul\0x", 1, [(0, 1)])) == FAILED
        assert status_of(lambda: odd.commit(b"\xff\xfe", 1, [(0, 1)])) == FAILED
        assert status_of(lambda: odd.commit("utf", 1, [(0, 1)], metadata=b"\xff\xfe")) == FAILED
        odd.tenant = "a}b"
        assert status_of(lambda: odd.commit("odd", 1, [(0, 1)])) == FAILED


# ---- Servers that are none ----

GREETING = b"+OK\r\n+OK\r\n$45\r\n# x\r\nrole:master\r\naof_enabled:1\r\nabcdefghijklmn\r\n*2\r\n$1\r\na\r\n$6\r\nalways\r\n*2\r\n$1\r\na\r\n$2\r\nno\r\n+OK\r\n"


def answer_all(listener, answer):
    """To whoever connects: the answer, once something was said."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            try:
                client.recv(65536)
                client.sendall(answer)
                client.settimeout(0.3)
                while client.recv(65536):
                    pass
            except OSError:
                pass


@test
def no_answer_however_broken_hurts_it():
    noise = random.Random(7)
    answers = [
        b"*2147483647\r\n", b"*-5\r\n", b"*999999999999999999999\r\n", b"$-7\r\n", b"$99999999999\r\n" + b"x" * 100, b"*1\r\n" * 50, b":\r\n",
        b":99999999999999999999999\r\n", b"+\r\n", b"\r\n", b"", b"-ERR\0\r\n", b"*200001\r\n" + b":1\r\n" * 10, b"$2\r\nabcd\r\n",
        *(GREETING + more for more in (
            b"*2\r\n:1\r\n:2\r\n", b"*3\r\n$1\r\ng\r\n$1\r\nf\r\n$1\r\nv\r\n", b"$3\r\nabc\r\n", b"*-1\r\n", b":7\r\n" * 5, b"*1\r\n*1\r\n*1\r\n:1\r\n",
            b"*3\r\n$1\r\ng\r\n*0\r\n$-1\r\n", b"*300000\r\n", b"$100000000\r\n" + b"y" * 100000, b"*2\r\n$2\r\n\0\0\r\n$1\r\n")),
        *(bytes(noise.choice(b"*$+-:0123456789\r\n\0x") for _ in range(noise.randint(1, 200))) for _ in range(40)),
        *(GREETING + bytes(noise.choice(b"*$+-:019\r\nx") for _ in range(noise.randint(1, 200))) for _ in range(40)),
    ]
    for answer in answers:
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=answer_all, args=(listener, answer), daemon=True).start()
        with store(port=listener.getsockname()[1], tls="off", host="127.0.0.1") as fooled:
            for _ in range(2):
                assert status_of(lambda: fooled.fetch("g", seconds=0.12)) != OK
                assert status_of(lambda: fooled.commit("g", 1, [(0, 1)], seconds=0.05)) != OK
        listener.close()
    return len(answers)


if __name__ == "__main__":
    sys.exit(main(test, make))
