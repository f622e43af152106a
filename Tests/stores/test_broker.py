#!/usr/bin/env python3
"""A broker whose groups keep their offsets in PostgreSQL and Redis: installed, granted, chosen, moved, down and back.

    Tests/interop/run.sh --python Tests/stores/test_broker.py PROGRAMS PLUGINS [WORD …]      (run.sh builds both)
"""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import grpc

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cli"), str(HERE.parent / "interop")]
from harness import Tests, main  # noqa: E402
from members import Member, ending  # noqa: E402
from servers import Authority, Postgres, Proxy, Redis, bound  # noqa: E402
from support import API, Client, explain, rpc_status  # noqa: E402
from support import Broker as Address  # noqa: E402
from test_redis import acl  # noqa: E402
from tools import Broker, Tool  # noqa: E402

test = Tests()
PASSWORD = "broker-Canary-Password-7"
UNCOMMITTED = 40  # groups.max-uncommitted of our broker


class World:
    """The servers, the broker, its command line."""


w = World()


def make(programs, plugins, work, ends):
    w.work, w.programs = work, pathlib.Path(programs)
    authority = Authority(work)
    secret = work / "password"
    secret.write_text(PASSWORD + "\n")
    w.postgres = Postgres(work / "postgres", authority)
    ends.callback(w.postgres.stop)
    w.postgres.start()
    w.postgres.sql(f"CREATE ROLE broker LOGIN PASSWORD '{PASSWORD}'")
    w.postgres.sql("CREATE DATABASE skein OWNER broker")
    w.redis = Redis(work / "redis", authority)
    ends.callback(w.redis.stop)
    w.redis.acl.write_text(acl())
    w.redis.start()
    w.proxies = {"postgres": Proxy(w.postgres.port), "redis": Proxy(w.redis.port)}
    common = dict(host="localhost", password={"secret_file": str(secret)}, ca_file=str(authority.file))
    w.stores = []
    for name, more in (("postgres", dict(database="skein", user="broker")), ("redis", dict(user="skein"))):
        file = work / f"{name}.json"
        file.write_text(json.dumps(common | more | dict(port=w.proxies[name].port)))
        file.chmod(0o600)
        w.stores.append(f"{name}=com.skein.{name}-offsets@1.0.0:{file}")
        # As built, but for the folder with our certificates instead of /etc/skein.
        folder = work / f"{name}-offsets"
        shutil.copytree(pathlib.Path(plugins) / f"{name}-offsets", folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["needs"]["paths"] = [str(work)]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    w.skeind = work / "skeind"
    w.skeind.write_text(f"#!/bin/sh\nexec {' '.join(bound([w.programs / 'skeind']))} \"$@\"\n")
    w.skeind.chmod(0o755)
    w.api, w.broker = API(), None
    ends.callback(lambda: w.broker and w.broker.stop())
    start()
    w.skein = Tool(str(w.programs / "skein"), work, SKEIN_CONTEXT=str(w.broker.dev / "context.yaml"))


def start():
    w.broker = Broker(
        str(w.skeind), w.work, "--set", "offset-stores=" + ",".join(w.stores), "--set", "groups.reconnect-grace-ms=200",
        "--set", f"groups.max-uncommitted={UNCOMMITTED}")
    w.client = Client(w.api, Address(w.broker.address, w.broker.dev).channel())


def kill_broker():
    w.broker.process.kill()
    w.broker.process.wait(10)
    w.broker.log.close()
    w.broker = None


def wait(what, seconds, body):
    end = time.monotonic() + seconds
    while not body():
        assert time.monotonic() < end, f"{what}: not within {seconds} s; {(w.work / 'skeind.log').read_text()[-1500:]}"
        time.sleep(0.05)


def produce(topic, first, last):
    w.skein.ok("produce", topic, "--partition", "0", input="".join(f"{n}\n" for n in range(first, last)))


def consume(topic, group, count):
    return [int(line) for line in w.skein.ok("consume", topic, "--group", group, "--max", str(count)).lines]


def in_postgres(group):
    return int(w.postgres.sql(f"SELECT coalesce(max(next_offset), -1) FROM skein.offsets WHERE group_name = '{group}'", "skein"))


def in_redis(group):
    values = w.redis.cli("hvals", "skein:{default}:o:" + group).split("\n")
    return max((int(value.split(" ")[1]) for value in values if value.count(" ") >= 3), default=-1)


def metric(name, store):
    with urllib.request.urlopen(f"http://{w.broker.operations}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + "{") and store in line)


def problem(store):
    return next(each["problem"] for each in w.skein.ok("group", "stores", "-o", "json").json if each["name"] == store)


def commit(group, topic, offsets, metadata=""):
    """By a group without members; the reason of a refusal, with how long to wait in milliseconds."""
    request = w.api.groups.CommitRequest(group=group, offsets=[
        w.api.records.PartitionOffset(topic=topic, partition=p, offset=o, metadata=metadata) for p, o in offsets.items()])
    try:
        answer = w.client.groups.Commit(request, timeout=20)
    except grpc.RpcError as error:
        told = explain(w.api, rpc_status.from_call(error))
        return told.info.reason, told.info.metadata["retriable"], told.retry and told.retry.retry_delay.ToMilliseconds()
    assert all(result.error.code == 0 for result in answer.results), answer
    return None


def offsets_of(group):
    answer = w.client.groups.FetchOffsets(w.api.groups.FetchOffsetsRequest(group=group), timeout=20)
    return {each.partition: (each.offset, each.metadata) for each in answer.offsets}


class Follower:
    """`skein consume --follow`, with what it has printed."""

    def __init__(self, topic, group):
        self.lines = []
        self.process = w.skein.start("consume", topic, "--group", group, "--follow")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(int(line))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- Installed, chosen, used ----


@test
def plug_ins_are_installed_and_granted_while_the_broker_runs():
    w.skein.ok("plugin", "keygen", "author")
    w.skein.ok("plugin", "trust", "add", "author.pem")
    for name in ("postgres", "redis"):
        package = w.work / f"{name}.skeinplug"
        w.skein.ok("plugin", "pack", w.work / f"{name}-offsets", "--key", "author.key", "--to", package)
        w.skein.ok("plugin", "install", package)
        # Without the grant it opens no socket, and nobody is told that it works.
        wait("it says what is missing", 20, lambda: f"skein plugin grant com.skein.{name}-offsets@1.0.0 network" in problem(name))
        w.skein.ok("plugin", "grant", f"com.skein.{name}-offsets@1.0.0", "network")
        wait(f"{name} is there", 20, lambda: not problem(name))
    assert PASSWORD not in (w.work / "skeind.log").read_text()


@test
def a_group_goes_on_where_its_offset_in_the_store_says():
    w.skein.ok("topic", "create", "orders", "--partitions", "1")
    produce("orders", 0, 20)
    for group, stored in (("postgres", in_postgres), ("redis", in_redis)):
        w.skein.ok("group", "choose-store", group, "--group", group)
        assert consume("orders", group, 8) == list(range(8))
        wait("the offset", 10, lambda: stored(group) == 8)
        assert consume("orders", group, 12) == list(range(8, 20)), group
        assert stored(group) == 20


# ---- In the consumer's own transaction ----


@test
def a_consumer_killed_or_stopped_in_its_transaction_loses_and_doubles_nothing():
    w.skein.ok("topic", "create", "bills", "--partitions", "1")
    w.skein.ok("group", "choose-store", "postgres", "--group", "billing")
    produce("bills", 0, 60)
    text = (HERE.parents[1] / "Docs" / "offset-stores.md").read_text()
    rights = text.split("```sql consumer\n", 1)[1].split("```", 1)[0]
    w.postgres.sql(
        f"CREATE ROLE billing_app LOGIN PASSWORD 'app-password'; {rights}; CREATE TABLE invoices (record bigint); GRANT ALL ON invoices TO billing_app",
        "skein")
    database = f"host=127.0.0.1 port={w.postgres.port} dbname=skein user=billing_app password=app-password sslmode=require"
    command = bound([sys.executable, HERE / "consumer.py", w.broker.address, w.broker.dev / "tls", database, "bills", "billing", 60])
    # `after`: had the offset not been in the transaction, that record would come again.
    for death in ("work:7", "offset:7", "after:7", "offset:8", "work:23", "after:30"):
        done = subprocess.run([*command, death], capture_output=True, text=True, timeout=60)
        assert done.returncode == -9, (death, done.returncode, done.stderr[-2000:])
    # One stops in the middle of a record, and loses its partition; when it goes on, another has done that record and the rest.
    zombie = subprocess.Popen([*command, "stop:40"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait("it stops", 20, lambda: pathlib.Path(f"/proc/{zombie.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr[-2000:]
        zombie.send_signal(signal.SIGCONT)
        said = zombie.communicate(timeout=20)[1]
        assert zombie.returncode == 1 and "SK001" in said and "skein: 1 of 1 offset(s)" in said, said
    finally:
        zombie.kill()
        zombie.wait()
    assert w.postgres.sql("SELECT string_agg(record::text, ' ') FROM invoices", "skein").split() == [str(n) for n in range(60)]
    # The broker sees where its group stands, and goes on there.
    assert offsets_of("billing")[0][0] == 60
    produce("bills", 60, 62)
    assert consume("bills", "billing", 2) == [60, 61]


# ---- Moved ----


def move_until(group, to, step):
    """Kills the broker when the move tells that step."""
    process = w.skein.start("group", "move-offsets", group, "--to", to)
    told = b""
    try:
        for line in process.stderr:
            told += line
            if f"skein: {step}".encode() in line:
                kill_broker()
                return
        raise AssertionError(f"no {step}: {told}")
    finally:
        process.kill()
        process.communicate()


@test
def a_move_through_all_stores_survives_kills_of_the_broker():
    count = 40
    w.skein.ok("topic", "create", "wide", "--partitions", str(count))
    w.client.publish("wide", [w.client.record(value=b"1", partition=p) for p in range(count) for _ in range(2)])
    expected = {p: (1, f"note {p}") for p in range(count)}
    for p, (offset, note) in expected.items():
        assert commit("mover", "wide", {p: offset}, note) is None
    assert offsets_of("mover") == expected and len(expected) == count
    # log to PostgreSQL: killed while the copy is on its way, PostgreSQL not answering.
    w.proxies["postgres"].set("hold")
    move_until("mover", "postgres", "copying")
    w.proxies["postgres"].set("pass")
    start()
    assert offsets_of("mover") == expected
    # What is on its way takes no commits and no members.
    assert commit("mover", "wide", {0: 2})[0] == "OFFSETS_MOVING"
    _, told = ending(Member(w.client, "mover", ["wide"], waits=False))
    assert told.reason == "OFFSETS_MOVING" and told.metadata["retriable"] == "true", told
    moved(expected, "mover", "postgres")
    assert w.postgres.sql("SELECT count(*) FROM skein.offsets WHERE group_name = 'mover'", "skein") == str(count)
    # PostgreSQL to Redis: killed when all is copied, and nothing compared yet.
    w.proxies["redis"].delay = 0.4
    w.proxies["redis"].set("slow")
    move_until("mover", "redis", "comparing")
    w.proxies["redis"].set("pass")
    assert in_redis("mover") > 0 and in_postgres("mover") > 0
    start()
    assert offsets_of("mover") == expected
    moved(expected, "mover", "redis")
    assert in_postgres("mover") == -1
    # Redis to SQLite: killed after the switch, before Redis has been emptied.
    w.proxies["redis"].set("slow")
    move_until("mover", "sqlite", "switched")
    w.proxies["redis"].set("pass")
    assert in_redis("mover") > 0
    start()
    assert offsets_of("mover") == expected
    moved(expected, "mover", "sqlite")
    assert in_redis("mover") == -1
    # SQLite to the log: killed somewhere.
    move_until("mover", "log", "copying")
    start()
    assert offsets_of("mover") == expected
    moved(expected, "mover", "log")
    assert w.skein.ok("group", "describe", "mover", "-o", "json").json["offset_store"] == "log"
    assert len(consume("wide", "mover", count)) == count  # one is left in each


def moved(expected, group, to):
    """The same command ends the move; nothing has changed."""
    done = w.skein.ok("group", "move-offsets", group, "--to", to, "-o", "json").json
    assert done["to"] == to, done
    assert offsets_of(group) == expected
    assert w.skein.ok("group", "describe", group, "-o", "json").json["offset_store"] == to


# ---- Down ----


@test
def while_the_store_is_down_consumption_goes_on_to_its_bound_and_nothing_is_lost():
    w.skein.ok("topic", "create", "events", "--partitions", "1")
    for group in ("follower", "by-hand"):
        w.skein.ok("group", "choose-store", "postgres", "--group", group)
    produce("events", 0, 10)
    assert commit("by-hand", "events", {0: 3}) is None
    with Follower("events", "follower") as follower:
        wait("10 records", 20, lambda: len(follower.lines) == 10)
        wait("their offset", 20, lambda: in_postgres("follower") == 10)
        w.postgres.kill()
        refused = commit("by-hand", "events", {0: 5})
        assert refused and refused[:2] == ("OFFSET_STORE_UNAVAILABLE", "true") and refused[2] > 0, refused
        wait("the broker knows", 20, lambda: problem("postgres"))
        began = time.monotonic()
        assert commit("by-hand", "events", {0: 5})[0] == "OFFSET_STORE_UNAVAILABLE" and time.monotonic() - began < 1
        # Where an operator looks: the log says why, the metrics which.
        assert "no connection to PostgreSQL localhost" in (w.work / "skeind.log").read_text()
        assert metric("skein_offset_store_up", "postgres") == 0
        for n in range(10, 110, 10):
            produce("events", n, n + 10)
        wait("records with the store down", 20, lambda: len(follower.lines) >= 10 + UNCOMMITTED)
        time.sleep(0.5)
        # A batch that begins below the bound is sent whole.
        assert len(follower.lines) < 10 + UNCOMMITTED + 10, len(follower.lines)
        assert w.skein.run("group", "describe", "follower").code != 0
        wait("the gauge", 20, lambda: metric("skein_plugin_own_connections", "postgres") == 0)
        w.postgres.start()
        wait("the rest", 30, lambda: len(follower.lines) >= 110)
        wait("the offset follows", 30, lambda: in_postgres("follower") == 110)
        assert follower.lines == list(range(110))
    assert commit("by-hand", "events", {0: 5}) is None and offsets_of("by-hand") == {0: (5, "")}
    produce("events", 110, 111)
    assert consume("events", "follower", 1) == [110]
    assert not problem("postgres") and metric("skein_offset_store_up", "postgres") == 1
    wait("the gauge", 20, lambda: metric("skein_plugin_own_connections", "postgres") == 4)


if __name__ == "__main__":
    sys.exit(main(test, make))
