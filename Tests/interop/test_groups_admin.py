"""The `Groups` service for those who look after groups: stock gRPC, and the same over JSON."""

import time

import grpc
import pytest
from grpc_status import rpc_status

from members import Member, flat, fresh_group
from support import TIMEOUT, explain, refused
from test_json import Door


@pytest.fixture
def group():
    return fresh_group()


@pytest.fixture(scope="module")
def door(broker):
    door = Door(broker)
    yield door
    door.http.close()


@pytest.fixture
def topic(client):
    """Two partitions of five records."""
    topic = client.create(partitions=2)
    for partition in range(2):
        client.publish(topic, [
            client.record(value=b"%d" % i, partition=partition, timestamp_ms=1_700_000_000_000 + i * 1000) for i in range(5)])
    return topic


class Office:
    """The unary calls, shortly."""

    def __init__(self, client):
        self.stub, self.api, self.groups = client.groups, client.api, client.api.groups

    def offset(self, topic, partition, offset, **fields):
        return self.api.records.PartitionOffset(topic=topic, partition=partition, offset=offset, **fields)

    def commit(self, group, *offsets, **fields):
        """The ErrorInfo of each result; None where it was committed."""
        reply = self.stub.Commit(self.groups.CommitRequest(group=group, offsets=offsets, **fields), timeout=TIMEOUT)
        assert len(reply.results) == len(offsets)
        return [explain(self.api, r.error).info if r.error.code else None for r in reply.results]

    def offsets(self, group, **fields):
        reply = self.stub.FetchOffsets(self.groups.FetchOffsetsRequest(group=group, **fields), timeout=TIMEOUT)
        return {(o.topic, o.partition): o.offset for o in reply.offsets}

    def describe(self, group):
        return self.stub.Describe(self.groups.DescribeGroupRequest(group=group), timeout=TIMEOUT)

    def reset(self, group, topic, **fields):
        reply = self.stub.ResetOffsets(self.groups.ResetOffsetsRequest(group=group, topic=topic, **fields), timeout=TIMEOUT)
        return {c.partition: (c.before, c.after, c.lag) for c in reply.changes}

    def delete(self, group, topic=""):
        return self.stub.Delete(self.groups.DeleteGroupRequest(group=group, topic=topic), timeout=TIMEOUT).offsets

    def names(self, prefix, size=0):
        names, token = [], ""
        while True:
            page = self.stub.List(self.groups.ListGroupsRequest(prefix=prefix, page_size=size, page_token=token), timeout=TIMEOUT)
            assert not size or len(page.groups) <= size
            names += [g.group for g in page.groups]
            token = page.next_page_token
            if not token:
                return names


@pytest.fixture
def office(client):
    return Office(client)


def test_offsets_of_a_group_without_members(office, group, topic):
    assert office.commit(group, office.offset(topic, 0, 2, metadata="by hand", leader_epoch=0), office.offset(topic, 1, 5)) == [None, None]
    assert office.offsets(group) == {(topic, 0): 2, (topic, 1): 5}
    described = office.describe(group)
    assert described.summary.phase == office.groups.GROUP_PHASE_EMPTY and described.summary.offset_store == "log"
    first, second = described.partitions
    assert (first.lag.topic, first.lag.partition, first.lag.committed_offset, first.lag.high_watermark) == (topic, 0, 2, 5)
    assert first.metadata == "by hand" and abs(first.committed_ms - time.time() * 1000) < 60_000 and first.member_id == ""
    # Lag in records, and in time since the first of them was appended.
    assert first.lag.records == 3 and 0 <= first.lag.milliseconds < 60_000
    assert (second.lag.records, second.lag.milliseconds) == (0, 0)
    wanted = [office.api.consumer.TopicPartitions(topic=topic, partitions=[1])]
    assert office.offsets(group, partitions=wanted) == {(topic, 1): 5}


def test_lag_in_time_grows_with_the_clock(office, client, group):
    topic = client.create()
    client.publish(topic, [client.record(value=b"waits")])
    office.commit(group, office.offset(topic, 0, 0))
    first = office.describe(group).partitions[0].lag
    time.sleep(0.3)
    second = office.describe(group).partitions[0].lag
    assert (first.records, second.records) == (1, 1)
    assert 200 <= second.milliseconds - first.milliseconds < 10_000
    office.commit(group, office.offset(topic, 0, 1))
    assert office.describe(group).partitions[0].lag.milliseconds == 0


def test_each_bad_offset_has_its_own_reason(office, group, topic):
    results = office.commit(
        group, office.offset(topic, 0, 6), office.offset(topic, 0, -1), office.offset(topic, 9, 0),
        office.offset("no-such-topic", 0, 0), office.offset(topic, 1, 3))
    assert [r and r.reason for r in results] == [
        "OFFSET_OUT_OF_RANGE", "OFFSET_OUT_OF_RANGE", "PARTITION_NOT_FOUND", "TOPIC_NOT_FOUND", None]
    assert (results[0].metadata["log_start_offset"], results[0].metadata["high_watermark"]) == ("0", "5")
    assert office.offsets(group) == {(topic, 1): 3}
    [behind] = office.commit(group, office.offset(topic, 1, 2))
    assert behind.reason == "COMMIT_BEHIND" and behind.metadata["committed"] == "3"


def test_groups_are_listed_in_pages(office, topic):
    prefix = fresh_group()
    made = [f"{prefix}-{n}" for n in range(5)]
    for name in reversed(made):
        office.commit(name, office.offset(topic, 0, 1))
    assert office.names(prefix) == made == office.names(prefix, size=2)
    assert office.names(prefix + "-3") == made[3:4]
    for name in made:
        assert office.delete(name) == 1
    assert office.names(prefix) == []


@pytest.mark.parametrize("place, after", [
    (dict(earliest=True), (0, 0)), (dict(latest=True), (5, 5)), (dict(offset=4), (4, 4)), (dict(offset=0), (0, 0)),
    (dict(time_ms=1_700_000_002_500), (3, 3)), (dict(time_ms=1_900_000_000_000), (5, 5)), (dict(shift=1), (3, 4)),
    (dict(shift=-1), (1, 2)), (dict(shift=100), (5, 5)), (dict(shift=-100), (0, 0)),
])
def test_a_reset_leads_to_every_place_and_a_dry_run_nowhere(office, group, topic, place, after):
    office.commit(group, office.offset(topic, 0, 2), office.offset(topic, 1, 3))
    wanted = {0: (2, after[0], 5 - after[0]), 1: (3, after[1], 5 - after[1])}
    assert office.reset(group, topic, dry_run=True, **place) == wanted
    assert office.offsets(group) == {(topic, 0): 2, (topic, 1): 3}
    assert office.reset(group, topic, partitions=[1], **place) == {1: wanted[1]}
    assert office.offsets(group) == {(topic, 0): 2, (topic, 1): after[1]}
    assert office.reset(group, topic, partitions=[0], **place) == {0: wanted[0]}
    assert office.offsets(group) == {(topic, 0): after[0], (topic, 1): after[1]}


def test_a_member_starts_where_the_reset_led(office, client, group, topic):
    office.commit(group, office.offset(topic, 0, 5), office.offset(topic, 1, 5))
    office.reset(group, topic, offset=4)
    member = Member(client, group, [topic])
    member.assigned(2)
    assert sorted(member.records(2)) == [(0, 4, b"4"), (1, 4, b"4")]
    member.leave()


@pytest.mark.parametrize("call, code, reason", [
    (lambda o, g, t: o.describe("nobody-" + g), "NOT_FOUND", "GROUP_NOT_FOUND"),
    (lambda o, g, t: o.offsets("nobody-" + g), "NOT_FOUND", "GROUP_NOT_FOUND"),
    (lambda o, g, t: o.delete("nobody-" + g), "NOT_FOUND", "GROUP_NOT_FOUND"),
    (lambda o, g, t: o.reset("nobody-" + g, t, earliest=True), "NOT_FOUND", "GROUP_NOT_FOUND"),
    (lambda o, g, t: o.reset(g, "no-such-topic", earliest=True), "NOT_FOUND", "TOPIC_NOT_FOUND"),
    (lambda o, g, t: o.reset(g, t, partitions=[7], earliest=True), "NOT_FOUND", "PARTITION_NOT_FOUND"),
    (lambda o, g, t: o.reset(g, t, offset=6), "OUT_OF_RANGE", "OFFSET_OUT_OF_RANGE"),
    (lambda o, g, t: o.reset(g, t), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (lambda o, g, t: o.describe("a b"), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (lambda o, g, t: o.commit("__secret", o.offset(t, 0, 1)), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (lambda o, g, t: o.commit(g), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (lambda o, g, t: o.commit(g, o.offset(t, 0, 1), member_id="nobody", member_epoch=1),
     "FAILED_PRECONDITION", "UNKNOWN_MEMBER"),
])
def test_bad_calls_have_their_reasons(office, group, topic, call, code, reason):
    office.commit(group, office.offset(topic, 0, 1))
    with refused(office.api, getattr(grpc.StatusCode, code), reason):
        call(office, group, topic)
    assert office.offsets(group) == {(topic, 0): 1}


def test_what_a_group_with_members_refuses(office, client, group, topic):
    office.commit(group, office.offset(topic, 0, 1))
    member = Member(client, group, [topic])
    member.assigned(2)
    for call in (lambda: office.reset(group, topic, earliest=True), lambda: office.delete(group),
                 lambda: office.commit(group, office.offset(topic, 0, 2))):
        with refused(office.api, grpc.StatusCode.FAILED_PRECONDITION, "GROUP_HAS_MEMBERS"):
            call()
    assert office.offsets(group) == {(topic, 0): 1}
    # With its id and epoch it is the member's.
    assert office.commit(group, office.offset(topic, 0, 2), member_id=member.joined.member_id, member_epoch=member.epoch) == [None]
    described = office.describe(group)
    assert described.summary.members == 1 and {p.member_id for p in described.partitions} == {member.joined.member_id}
    assert flat(described.members[0].target) == member.owned and described.assignor
    member.leave()
    assert office.delete(group) == 1
    with refused(office.api, grpc.StatusCode.NOT_FOUND, "GROUP_NOT_FOUND"):
        office.describe(group)


def test_one_topic_s_offsets_are_deleted_alone(office, client, group, topic):
    other = client.create()
    office.commit(group, office.offset(topic, 0, 1), office.offset(topic, 1, 1), office.offset(other, 0, 0))
    assert office.delete(group, topic) == 2
    assert office.offsets(group) == {(other, 0): 0}


def test_stores_are_listed_chosen_and_offsets_moved(office, door, client, group, topic):
    assert {s["name"] for s in door.ok("GET", "/v1/offset-stores")["stores"]} >= {"log", "sqlite"}
    stores = {s.name: s for s in office.stub.ListOffsetStores(office.groups.ListOffsetStoresRequest(), timeout=TIMEOUT).stores}
    assert {"log", "sqlite"} <= set(stores) and stores["log"].is_default and not stores["sqlite"].problem

    def choose(store, group=""):
        return office.stub.ChooseOffsetStore(
            office.groups.ChooseOffsetStoreRequest(store=store, group=group), timeout=TIMEOUT).before

    def move(to):
        steps = list(office.stub.MoveOffsets(office.groups.MoveOffsetsRequest(group=group, to=to), timeout=TIMEOUT))
        assert steps[-1].step == office.groups.MOVE_STEP_DONE and steps[-1].total == steps[-1].done == 2
        return steps[-1]

    assert choose("sqlite", group) == "log"
    office.commit(group, office.offset(topic, 0, 2), office.offset(topic, 1, 3))
    assert office.describe(group).summary.offset_store == "sqlite"
    with refused(office.api, grpc.StatusCode.ABORTED, "CONFLICT"):
        choose("log", group)
    with refused(office.api, grpc.StatusCode.NOT_FOUND, "OFFSET_STORE_NOT_FOUND"):
        choose("nowhere")
    with refused(office.api, grpc.StatusCode.NOT_FOUND, "OFFSET_STORE_NOT_FOUND"):
        move("nowhere")
    member = Member(client, group, [topic])
    member.assigned(2)
    assert member.joined.offset_store == "sqlite"
    with refused(office.api, grpc.StatusCode.FAILED_PRECONDITION, "GROUP_HAS_MEMBERS"):
        move("log")
    assert member.commit((topic, 0, 4)) == [None]
    member.leave()
    for to in ("log", "sqlite"):
        moved = move(to)
        assert moved.to == to != moved.from_ if hasattr(moved, "from_") else moved.to == to
        assert office.offsets(group) == {(topic, 0): 4, (topic, 1): 3}
        assert office.describe(group).summary.offset_store == to


def test_the_same_over_json(door, office, client, group, topic):
    base = f"/v1/groups/{group}"
    answer = door.ok("POST", base + "/commit", {"offsets": [
        {"topic": topic, "partition": 0, "offset": "2"}, {"topic": topic, "partition": 1, "offset": 99}]})
    good, bad = answer["results"]
    assert not good.get("error", {}).get("code") and bad["error"]["code"] == grpc.StatusCode.OUT_OF_RANGE.value[0]
    assert [(o["partition"], o["offset"]) for o in door.ok("GET", base + "/offsets")["offsets"]] == [(0, "2")]
    described = door.ok("GET", base)
    assert described["summary"]["phase"] == "GROUP_PHASE_EMPTY"
    assert described["partitions"][0]["lag"] | {"milliseconds": 0} == {
        "topic": topic, "partition": 0, "committedOffset": "2", "highWatermark": "5", "records": "3", "milliseconds": 0}
    assert group in [g["group"] for g in door.ok("GET", f"/v1/groups?prefix={group}")["groups"]]
    dry = door.ok("POST", base + "/reset-offsets", {"topic": topic, "earliest": True, "dryRun": True})
    assert [(c["partition"], c["before"], c["after"]) for c in dry["changes"]] == [(0, "2", "0"), (1, "-1", "0")]
    door.ok("POST", base + "/reset-offsets", {"topic": topic, "shift": "-1", "partitions": [0]})
    assert office.offsets(group) == {(topic, 0): 1}
    member = Member(client, group, [topic])
    member.assigned(2)
    refusal = door.call("POST", base + "/reset-offsets", {"topic": topic, "latest": True})
    assert refusal.status_code in (400, 409) and "GROUP_HAS_MEMBERS" in refusal.text
    member.leave()
    assert door.ok("DELETE", base)["offsets"] == "1"
    missing = door.call("GET", base)
    assert missing.status_code == 404 and "GROUP_NOT_FOUND" in missing.text
    two = door.call("POST", base + "/reset-offsets", {"topic": topic, "latest": True, "earliest": True})
    assert two.status_code == 400
