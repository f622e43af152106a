"""Groups from the command line: read as a member, looked at, reset, deleted, moved."""

import json
import os
import signal
import time

import pytest


@pytest.fixture
def group(request):
    name = "g-" + "".join(c if c.isalnum() else "-" for c in request.node.name)
    return f"{name[:80]}-{os.getpid()}-{time.time_ns() % 1_000_000}"


def fill(skein, topic, each=3):
    for partition in range(3):
        skein.ok("produce", topic, "-p", partition, input="".join(f"{partition}-{n}\n" for n in range(each)))


def offsets(skein, group):
    described = skein.ok("group", "describe", group, "-o", "json").json
    return {p["partition"]: p["committed_offset"] for p in described["partitions"]}


def read_all(skein, topic, group, count=9):
    return sorted(skein.ok("consume", topic, "--group", group, "--max", count).lines)


def test_a_group_remembers_what_was_printed(skein, topic, group):
    fill(skein, topic)
    everything = sorted(f"{p}-{n}" for p in range(3) for n in range(3))
    first = skein.ok("consume", topic, "--group", group, "--max", 4).lines
    assert len(first) == 4
    rest = skein.ok("consume", topic, "--group", group, "--max", 5).lines
    assert sorted(first + rest) == everything
    assert offsets(skein, group) == {0: 3, 1: 3, 2: 3}
    # Without --follow it ends where the partitions end.
    assert skein.ok("consume", topic, "--group", group).out == ""


def test_a_group_can_begin_at_the_end_and_not_commit(skein, topic, group):
    fill(skein, topic)
    assert skein.ok("consume", topic, "--group", group, "--from", "end").out == ""
    other = group + "-other"
    for _ in range(2):
        assert len(read_all(skein, topic, other, 9)) == 9
        skein.ok("group", "reset", other, "--topic", topic, "--to", "earliest")
    none = group + "-none"
    for _ in range(2):
        assert len(skein.ok("consume", topic, "--group", none, "--commit", "none", "--max", 9).lines) == 9


def test_a_topic_that_is_not_there_is_told(skein, topic, group):
    missing = skein.run("consume", topic + "x", "--group", group)
    assert missing.code == 1 and "TOPIC_NOT_FOUND" in missing.err and f"id you mean `{topic}`" in missing.err
    member = skein.start("consume", topic + "-late", "--group", group, "--follow")
    assert b"is waited for" in member.stderr.readline()
    skein.ok("topic", "create", topic + "-late", "-p", 1)
    skein.ok("produce", topic + "-late", input="here\n")
    assert member.stdout.readline() == b"here\n"
    member.terminate()
    assert member.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_group_with_everything_committed(skein, topic, group, number):
    fill(skein, topic)
    member = skein.start("consume", topic, "--group", group, "--follow")
    seen = [member.stdout.readline() for _ in range(9)]
    assert len(set(seen)) == 9
    described = skein.ok("group", "describe", group, "-o", "json").json
    assert described["state"] == "stable" and len(described["members"]) == 1
    assert len({p["member_id"] for p in described["partitions"]}) == 1
    busy = skein.run("group", "reset", group, "--topic", topic, "--to", "earliest")
    assert busy.code == 1 and "GROUP_HAS_MEMBERS" in busy.err and "Stop them first" in busy.err
    assert skein.run("group", "delete", group).code == 1
    member.send_signal(number)
    out, err = member.communicate(timeout=30)
    assert member.returncode == 0 and out == b"", err
    after = skein.ok("group", "describe", group, "-o", "json").json
    assert after["state"] == "empty" and after["members"] == [] and after["lag_records"] == 0
    assert offsets(skein, group) == {0: 3, 1: 3, 2: 3}


def test_two_members_share_the_partitions(skein, topic, group):
    members = [skein.start("consume", topic, "--group", group, "--follow") for _ in range(2)]
    try:
        deadline = time.monotonic() + 30
        while True:
            found = skein.run("group", "describe", group, "-o", "json")
            if found.code == 0:
                has = sorted(sum(len(a["partitions"]) for a in m["assigned"]) for m in found.json["members"])
                if found.json["state"] == "stable" and has == [1, 2]:
                    ids = [m["member_id"] for m in found.json["members"]]
                    break
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        # People see so much of an id that both differ, at the member and at its partitions.
        table = skein.ok("group", "describe", group).out
        shown = [max((i[:n] for n in range(33) if i[:n] in table), key=len) for i in ids]
        assert len(set(shown)) == 2 and all(8 <= len(i) < 32 for i in shown)
        assert sorted(table.count(i) for i in shown) == [2, 3], table
        fill(skein, topic)
    finally:
        deadline = time.monotonic() + 30
        while offsets(skein, group) != {0: 3, 1: 3, 2: 3} and time.monotonic() < deadline:
            time.sleep(0.1)
        for member in members:
            member.terminate()
        printed = [m.communicate(timeout=30)[0].decode().splitlines() for m in members]
    assert sorted(sum(printed, [])) == sorted(f"{p}-{n}" for p in range(3) for n in range(3))
    assert sorted(map(len, printed)) == [3, 6]


def test_describe_shows_lag_in_records_and_time(skein, topic, group):
    fill(skein, topic)
    read_all(skein, topic, group)
    skein.ok("produce", topic, "-p", 1, input="late\nlater\n")
    described = skein.ok("group", "describe", group, "-o", "json").json
    assert described["lag_records"] == 2 and described["lag_ms"] > 0
    late = next(p for p in described["partitions"] if p["partition"] == 1)
    assert (late["committed_offset"], late["high_watermark"], late["lag_records"]) == (3, 5, 2)
    assert late["lag_ms"] == described["lag_ms"] and late["error"] is None
    table = skein.ok("group", "describe", group).out
    assert "BEHIND" in table and "nobody reads it" in table and group in table
    assert group in skein.ok("group", "list", group[:12] + "*", "-o", "name").lines
    row = next(g for g in skein.ok("group", "list", "-o", "json").json if g["group"] == group)
    assert row["state"] == "empty" and row["members"] == 0 and row["offset_store"] == "log"


@pytest.mark.parametrize("to, after", [
    ("earliest", 0), ("latest", 3), ("-1", 2), ("-99", 0), ("+99", 3), ("2100-01-01T00:00:00Z", 3), ("@0", 0), ("-1h", 0),
])
def test_reset_shows_and_does(skein, topic, group, to, after):
    fill(skein, topic)
    read_all(skein, topic, group)
    dry = skein.ok("group", "reset", group, "--topic", topic, "--to", to, "--dry-run", "-o", "json")
    assert [(c["partition"], c["before"], c["after"], c["moved"], c["dry_run"]) for c in dry.json] == [
        (p, 3, after, after - 3, True) for p in range(3)]
    assert "nothing was changed" in dry.err and offsets(skein, group) == {0: 3, 1: 3, 2: 3}
    skein.ok("group", "reset", group, "--topic", topic, "--to", to, "-p", 1)
    assert offsets(skein, group) == {0: 3, 1: after, 2: 3}


def test_reset_to_an_offset_needs_a_partition_and_must_be_there(skein, topic, group):
    fill(skein, topic)
    read_all(skein, topic, group)
    vague = skein.run("group", "reset", group, "--topic", topic, "--to", 1)
    assert vague.code == 2 and "--partition" in vague.err
    skein.ok("group", "reset", group, "--topic", topic, "--to", 1, "-p", 0)
    assert offsets(skein, group)[0] == 1
    beyond = skein.run("group", "reset", group, "--topic", topic, "--to", 99, "-p", 0)
    assert beyond.code == 1 and "OFFSET_OUT_OF_RANGE" in beyond.err and "3" in beyond.err
    wrong = skein.run("group", "reset", group, "--topic", topic, "--to", "erliest")
    assert wrong.code == 2 and "did you mean `earliest`" in wrong.err


def test_a_group_that_is_not_there_is_told_with_the_nearest(skein, topic, group):
    fill(skein, topic)
    read_all(skein, topic, group)
    for command in (["describe"], ["delete"], ["reset", "--topic", topic, "--to", "latest"]):
        result = skein.run("group", command[0], group + "q", *command[1:])
        assert result.code == 1 and result.out == "" and "GROUP_NOT_FOUND" in result.err
        assert f"id you mean `{group}`" in result.err
    assert skein.ok("group", "delete", group + "q", "--if-exists").out == f"absent: {group}q\n"


def test_delete_takes_a_topic_s_offsets_or_all(skein, topic, group):
    fill(skein, topic)
    read_all(skein, topic, group)
    assert skein.ok("group", "delete", group, "--topic", topic, "-o", "json").json == {
        "deleted": group, "existed": True, "offsets": 3, "topic": topic}
    read_all(skein, topic, group)
    assert skein.ok("group", "delete", group, "-o", "json").json["offsets"] == 3
    assert skein.run("group", "describe", group).code == 1


def test_watch_is_one_document_a_look_in_a_pipe(skein, topic, group):
    fill(skein, topic)
    read_all(skein, topic, group)
    watch = skein.start("group", "describe", group, "--watch", "--interval", "0.2", "-o", "json")
    looks = [json.loads(watch.stdout.readline()) for _ in range(3)]
    assert all(look["group"] == group and look["lag_records"] == 0 for look in looks)
    skein.ok("produce", topic, "-p", 0, "--value", "more")
    while looks[-1]["lag_records"] == 0:
        looks.append(json.loads(watch.stdout.readline()))
    assert looks[-1]["lag_records"] == 1 and len(looks) < 200
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=30)
    assert watch.returncode == 0 and err == b""


def test_watch_draws_one_picture_on_a_terminal(skein, topic, group):
    fill(skein, topic)
    read_all(skein, topic, group)
    seen = skein.terminal("group", "describe", group, "--watch", "--interval", "0.1", until=b"\x1b[J\x1b[H")
    # Cleared once, then drawn over.
    assert seen.count(b"\x1b[2J") == 1 and group[:20].encode() in seen and b"LAG" in seen
    # Lines are cut at the terminal's width, which is 80 unless it says otherwise.
    assert all(len(line.replace(b"\x1b[K", b"").replace(b"\x1b[2J\x1b[H", b"")) <= 80 for line in seen.split(b"\r\n")[:4])


def test_what_is_wrong_with_a_member_is_seen_at_80_columns(skein, topic, group):
    member = skein.start("consume", topic, "--group", group, "--follow")
    try:
        while not skein.run("group", "describe", group, "-o", "name").out:
            time.sleep(0.05)
        seen = skein.terminal("group", "describe", group, "--watch", "--interval", "0.1", until=b"\x1b[J\x1b[H")
        assert b"STATE" in seen and b"connected" in seen
        member.kill()
        while "its member is away" not in (table := skein.ok("group", "describe", group).out):
            time.sleep(0.05)
        assert " away " in table and " ok" not in table
    finally:
        member.kill()
        member.communicate(timeout=30)


def test_watch_outlives_nothing_that_is_gone(skein, topic, group):
    missing = skein.run("group", "describe", group, "--watch")
    assert missing.code == 1 and "GROUP_NOT_FOUND" in missing.err


@pytest.mark.parametrize("arguments, words", [
    (["--group", "g", "--partition", "1"], "--partition"), (["--group", "g", "--from", "17"], "--from"),
    (["--commit", "none"], "--commit"), (["--group", "g", "--commit", "sometimes"], "sometimes"),
])
def test_what_does_not_go_together_is_usage(skein, topic, arguments, words):
    result = skein.run("consume", topic, *arguments)
    assert result.code == 2 and words in result.err


def test_a_bad_group_name_is_told(skein, topic):
    result = skein.run("consume", topic, "--group", "a b")
    assert result.code == 1 and "INVALID_REQUEST" in result.err


def test_the_tab_key_knows_groups(skein, topic, group):
    fill(skein, topic)
    read_all(skein, topic, group)
    assert group in skein.tab("skein", "group", "describe", "")
    assert group in skein.tab("skein", "consume", topic, "--group", "")
