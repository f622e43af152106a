"""The cluster: what it is, how it is, what changes, and stopping a broker."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from tools import Broker, Tool


def test_describe(skein, broker):
    cluster = skein.ok("cluster", "describe", "-o", "json").json
    assert cluster["principal"] == "admin" and cluster["tenant"] == "default"
    assert cluster["brokers"][0]["address"] == broker.address
    assert cluster["limits"]["max_message_bytes"] == 16 << 20
    table = skein.ok("cluster", "describe").out
    assert broker.address in table and "max_batch_bytes" in table


def test_health_is_told_with_its_parts(skein, topic):
    health = skein.ok("cluster", "health", "-o", "json").json
    assert health["health"] == "ok" and health["broker"] == "ready" and health["problems"] == []
    assert health["topics"] >= 1 and health["partitions"] >= 3 and health["offline_partitions"] == 0
    directory = health["directories"][0]
    assert directory["state"] == "online" and 0 < directory["disk_free_bytes"] <= directory["disk_total_bytes"]
    assert directory["journal"]["limit"] > 0
    assert skein.ok("cluster", "health", "-o", "name").out == "ok\n"
    assert "DISK FREE" in skein.ok("cluster", "health").out


def test_watch_shows_what_is_and_what_changes(skein, topic):
    once = [json.loads(line) for line in skein.ok("cluster", "watch", "--once", "-o", "json").lines]
    assert once[0]["reset"] is True and once[-1]["synced"] is True and once[0]["broker"] == "ready"
    assert topic in {t["name"] for change in once for t in change["topics"]}

    watch = skein.start("cluster", "watch", "-o", "json")
    while not json.loads(watch.stdout.readline())["synced"]:
        pass
    name = topic + "-x"
    skein.ok("topic", "create", name, "-p", "1")
    assert [t["name"] for t in json.loads(watch.stdout.readline())["topics"]] == [name]
    skein.ok("topic", "add-partitions", name, "--to", 2)
    changed = json.loads(watch.stdout.readline())["topics"][0]
    assert (changed["name"], changed["partitions"], changed["generation"]) == (name, 2, 2)
    skein.ok("topic", "delete", name)
    assert [t["name"] for t in json.loads(watch.stdout.readline())["deleted"]] == [name]
    watch.terminate()
    out, err = watch.communicate(timeout=30)
    assert watch.returncode == 0 and err == b""
    text = skein.ok("cluster", "watch", "--once").out
    assert f"topic {topic}: 3 partitions, generation 1" in text


def test_nothing_is_given_up_where_nothing_is_lost(skein, topic):
    assert "nothing to give up" in skein.ok("topic", "accept-loss", topic).out
    refused = skein.run("topic", "accept-loss", topic, "-p", 0, "-o", "json")
    assert refused.code == 1 and refused.json[0]["error"]["reason"] == "PARTITION_ONLINE"
    assert refused.json[0]["dry_run"] is True


@pytest.fixture
def other():
    """A broker of its own, to be stopped."""
    with tempfile.TemporaryDirectory(prefix="skein-cli-") as folder:
        broker = Broker(os.environ["SKEIND"], Path(folder))
        try:
            yield broker
        finally:
            if broker.process.poll() is None:
                broker.stop()


def test_drain_stops_the_right_broker_only(other, tmp_path):
    skein = Tool(os.environ["SKEIN"], tmp_path, SKEIN_CONTEXT=str(other.dev / "context.yaml"))
    wrong = skein.run("cluster", "drain", "--broker", 7)
    assert wrong.code == 1 and "INVALID_REQUEST" in wrong.err and other.process.poll() is None
    drained = skein.ok("cluster", "drain", "--broker", 1, "--reason", "a test", "--wait", "--connect-timeout", 2, "-o", "json")
    assert drained.json["already_draining"] is False and drained.json["ended"] is True
    assert other.process.wait(30) == 0
    gone = skein.run("cluster", "describe", "--connect-timeout", 1)
    assert gone.code == 4 and "UNREACHABLE" in gone.err and "skein doctor" in gone.err
