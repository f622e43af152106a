"""Topics: made, listed, described, shortened, followed, deleted."""

import json

import pytest


def test_create_list_describe_delete(skein):
    made = skein.ok("topic", "create", "life", "-p", "2", "-c", "retention.ms=1000000", "-o", "json").json
    assert made["created"] is True and len(made["topic_id"]) == 32
    again = skein.run("topic", "create", "life")
    assert again.code == 1 and "TOPIC_EXISTS" in again.err
    assert skein.ok("topic", "create", "life", "--if-not-exists", "-o", "json").json == {**made, "created": False}
    assert skein.ok("topic", "list", "lif?", "-o", "name").out == "life\n"
    skein.ok("produce", "life", input="a\nb\nc\n")
    row = skein.ok("topic", "list", "life", "--detailed", "-o", "json").json[0]
    assert row["records"] == 3 and row["size_bytes"] > 0 and row["state"] == "ok" and row["partitions"] == 2
    described = skein.ok("topic", "describe", "life", "--rates", "--interval", "0.1", "-o", "json").json
    assert described["records"] == 3 and described["records_per_second"] == 0
    assert [p["partition"] for p in described["partitions"]] == [0, 1]
    assert all({"records_per_second", "size_bytes", "leader_epoch", "error"} <= set(p) for p in described["partitions"])
    setting = next(s for s in described["settings"] if s["name"] == "retention.ms")
    assert setting["value"] == "1000000" and setting["source"] == "topic" and setting["meaning"]
    assert "IN NOW" in skein.ok("topic", "describe", "life", "--rates", "--interval", "0.1").out
    assert skein.ok("topic", "delete", "life", "-o", "json").json == {"deleted": "life", "existed": True}
    assert skein.run("topic", "delete", "life").code == 1
    assert skein.ok("topic", "delete", "life", "--if-exists").out == "absent: life\n"


def test_rates_are_seen_while_records_come(skein, topic):
    watch = skein.start("topic", "describe", topic, "--rates", "--interval", "1", "-o", "json")
    for _ in range(5):
        skein.ok("produce", topic, "-p", 1, input="x\n" * 200)
    out, err = watch.communicate(timeout=60)
    assert watch.returncode == 0, err
    described = json.loads(out)
    assert described["records_per_second"] > 0
    assert described["partitions"][1]["records_per_second"] == pytest.approx(described["records_per_second"])
    assert described["partitions"][0]["records_per_second"] == 0


@pytest.mark.parametrize("command", [
    ["topic", "describe"], ["topic", "delete"], ["topic", "offsets"], ["consume"], ["produce", "--value", "x"],
    ["topic", "tail"], ["topic", "delete-records", "--before", "end"],
])
def test_a_missing_topic_is_one_with_the_nearest_name(skein, topic, command):
    result = skein.run(*command, topic + "q")
    assert result.code == 1 and result.out == ""
    assert "TOPIC_NOT_FOUND" in result.err and f"id you mean `{topic}`" in result.err


def test_verbose_shows_what_programs_see(skein, topic):
    plain = skein.run("topic", "describe", "nope-nope")
    assert "NOT_FOUND, outcome" not in plain.err
    for arguments in (["topic", "describe", "nope-nope", "--verbose"], ["--verbose", "topic", "describe", "nope-nope"]):
        verbose = skein.run(*arguments)
        assert "code NOT_FOUND, outcome definite" in verbose.err and "topic = nope-nope" in verbose.err


def test_delete_records(skein, topic):
    skein.ok("produce", topic, "-p", 0, input="a\nb\nc\n")
    dry = skein.ok("topic", "delete-records", topic, "--before", "2", "-p", 0, "--dry-run", "-o", "json").json
    assert dry == [{"partition": 0, "log_start_offset": 2, "records": 2, "dry_run": True, "error": None}]
    assert skein.ok("consume", topic).lines == ["a", "b", "c"]
    skein.ok("topic", "delete-records", topic, "--before", "2", "-p", 0)
    assert skein.ok("consume", topic).lines == ["c"]
    skein.ok("topic", "records", "delete", topic, "--before", "end")
    assert skein.ok("consume", topic).lines == []
    beyond = skein.run("topic", "delete-records", topic, "--before", "99", "-p", 0)
    assert beyond.code == 1 and "OFFSET_OUT_OF_RANGE" in beyond.err


def test_tail_shows_the_last_of_all_partitions_by_time(skein, topic):
    for n in range(12):
        line = json.dumps({"key": f"k{n % 3}", "value": f"v{n}", "timestamp_ms": 1_000_000 + n, "partition": n % 3})
        skein.ok("produce", topic, "--format", "json", "--keep-partitions", input=line)
    out = skein.ok("topic", "tail", topic, "-n", 5, "--no-follow").lines
    assert [line.split()[-1] for line in out] == ["v7", "v8", "v9", "v10", "v11"]
    assert out[-1] == "1970-01-01T00:16:40.011Z 2:3 k2 v11"
    only = skein.ok("topic", "tail", topic, "-n", 12, "--no-follow", "--key", "k[01]", "--grep", "v1$|v10").lines
    assert [line.split()[-1] for line in only] == ["v1", "v10"]
    assert skein.ok("topic", "tail", topic, "-n", 0, "--no-follow").out == ""
    cut = skein.ok("topic", "tail", topic, "-n", 1, "--no-follow", "--cut", 1).out
    assert cut.endswith(" v…\n")
    as_json = skein.ok("topic", "tail", topic, "-n", 1, "--no-follow", "--format", "json").json
    assert as_json["value"] == "v11"


def test_tail_follows_and_colours_a_terminal_only(skein, topic):
    skein.ok("produce", topic, "-k", "key", "--value", "\x1b[31mred")
    plain = skein.ok("topic", "tail", topic, "--no-follow").out
    assert "\x1b" not in plain and "\\u{1b}[31mred" in plain
    seen = skein.terminal("topic", "tail", topic, until=b"red")
    assert b"\x1b[33mkey\x1b[0m" in seen and b"\x1b[31m" not in seen
    process = skein.start("topic", "tail", topic, "-n", 0)
    skein.ok("produce", topic, "--value", "comes")
    assert process.stdout.readline().endswith(b" - comes\n")
    process.terminate()
    assert process.wait(30) == 0


def test_the_tab_key_of_bash_knows_commands_and_topics(skein, topic):
    assert "describe" in skein.tab("skein", "topic", "des")
    assert topic in skein.tab("skein", "topic", "describe", "")
    assert topic in skein.tab("skein", "consume", "")


def test_settings_change_while_in_use(skein, topic):
    dry = skein.ok("topic", "alter", topic, "-c", "retention.ms=1000000", "--dry-run", "-o", "json").json
    assert dry["dry_run"] is True and [c["name"] for c in dry["changed"]] == ["retention.ms"]
    value = lambda: next(s["value"] for s in skein.ok("topic", "describe", topic, "-o", "json").json["settings"]
                         if s["name"] == "retention.ms")
    before = value()
    assert before == dry["changed"][0]["was"]
    skein.ok("topic", "alter", topic, "-c", "retention.ms=1000000")
    assert value() == "1000000"
    assert "so already" in skein.ok("topic", "update", topic, "-c", "retention.ms=1000000").out
    assert skein.ok("topic", "alter", topic, "--reset", "retention.ms", "-o", "name").out == "retention.ms\n"
    assert value() == before
    stale = skein.run("topic", "alter", topic, "-c", "retention.ms=2000000", "--if-revision", "1")
    assert stale.code == 1 and "CONFLICT" in stale.err
    assert skein.run("topic", "alter", topic).code == 2


@pytest.mark.parametrize("command", [["create", "-c", "retention.sm=1"], ["alter", "-c", "retention.sm=1"],
                                     ["alter", "--reset", "retention.sm"]])
def test_an_unknown_setting_gets_the_nearest(skein, topic, command):
    name = topic + "-new" if command[0] == "create" else topic
    result = skein.run("topic", command[0], name, *command[1:])
    assert result.code == 1 and "INVALID_REQUEST" in result.err and "did you mean `retention.ms`" in result.err
    assert len(result.err.splitlines()) == 2  # the headline, and the setting once


def test_every_wrong_setting_is_told_at_once_with_what_is_allowed(skein, topic):
    result = skein.run("topic", "alter", topic, "-c", "retention.ms=5", "-c", "durability=maybe")
    assert result.code == 1 and "1000 to" in result.err and "sync, memory" in result.err


def test_partitions_grow_and_never_shrink(skein, topic):
    assert skein.ok("topic", "add-partitions", topic, "--num", 1, "--dry-run", "-o", "json").json["partitions"] == 4
    assert len(skein.ok("topic", "offsets", topic, "-o", "json").json) == 3
    done = skein.ok("topic", "add-partitions", topic, "--num", 2, "-o", "json").json
    assert (done["was"], done["partitions"], done["generation"]) == (3, 5, 2)
    skein.ok("produce", topic, "-p", 4, "--value", "new")
    assert skein.ok("consume", topic, "-p", 4).lines == ["new"]
    back = skein.run("topic", "add-partitions", topic, "--to", 2)
    assert back.code == 1 and "INVALID_REQUEST" in back.err
    assert skein.run("topic", "add-partitions", topic).code == 2
    assert skein.run("topic", "add-partitions", topic, "--to", 7, "--num", 1).code == 2


def test_describe_is_repeated_until_a_signal(skein, topic):
    watch = skein.start("topic", "describe", topic, "--watch", "--interval", "0.2", "-o", "json")
    looks = [json.loads(watch.stdout.readline()) for _ in range(3)]
    assert all(look["name"] == topic and look["records_per_second"] == 0 for look in looks)
    watch.terminate()
    out, err = watch.communicate(timeout=30)
    assert watch.returncode == 0 and err == b""
