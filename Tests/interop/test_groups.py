"""Members of a group with stock grpcio: joined, given partitions, given records, committed, moved, come back."""

import time

import grpc
import pytest

import kafka_format
from members import Member, ending, flat, fresh_group
from support import TIMEOUT, Stream, explain


@pytest.fixture
def group():
    return fresh_group()


def fill(client, topic, partitions, each):
    for partition in range(partitions):
        client.publish(topic, [client.record(value=b"%d-%d" % (partition, i), partition=partition) for i in range(each)])


def offsets(client, group):
    reply = client.groups.FetchOffsets(client.api.groups.FetchOffsetsRequest(group=group), timeout=TIMEOUT)
    return {o.partition: o.offset for o in reply.offsets}


def describe(client, group):
    return client.groups.Describe(client.api.groups.DescribeGroupRequest(group=group), timeout=TIMEOUT)


def until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def test_a_member_gets_partitions_records_and_commits(client, group):
    topic = client.create(partitions=3)
    fill(client, topic, 3, 4)
    member = Member(client, group, [topic], client_id="stock")
    joined = member.joined
    assert joined.member_id and joined.offset_store == "log" and joined.limits.max_message_bytes == 16 << 20
    assert 0 < joined.heartbeat_ms < joined.session_ms and joined.reconnect_grace_ms > 0
    assert joined.processing_ms == 300_000
    news = member.assigned(3)
    assert news.epoch > 0 and news.join_epoch > 0 and not news.revoke
    assert flat(news.partitions) == {(topic, p) for p in range(3)} and len(news.partitions[0].topic_id) == 32
    got = member.records(12)
    assert sorted(got) == [(p, i, b"%d-%d" % (p, i)) for p in range(3) for i in range(4)]
    for partition in range(3):
        assert [o for p, o, _ in got if p == partition] == list(range(4))
    assert member.totals[0] == 12
    assert member.commit((topic, 0, 4), (topic, 1, 2)) == [None, None]
    assert offsets(client, group) == {0: 4, 1: 2}
    # Twice the same is harmless, less than before is not taken.
    again, behind = member.commit((topic, 0, 4), (topic, 1, 1))
    assert again is None and behind.reason == "COMMIT_BEHIND" and behind.metadata["committed"] == "2"
    [described] = describe(client, group).members
    assert described.client == "admin stock" and described.connected and flat(described.assigned) == member.owned
    member.leave()
    # What was not committed comes again, from the commit on.
    second = Member(client, group, [topic])
    second.assigned(3)
    assert sorted(second.records(6)) == [(1, 2, b"1-2"), (1, 3, b"1-3")] + [(2, i, b"2-%d" % i) for i in range(4)]
    second.leave()


def test_records_come_as_batches_too(client, group):
    topic = client.create()
    fill(client, topic, 1, 5)
    member = Member(client, group, [topic], decoded=False)
    member.assigned(1)
    message = member.next("read")
    assert not message.HasField("records")
    records, _ = kafka_format.decode(message.batches)
    assert [r.value for r in records] == [b"0-%d" % i for i in range(5)] and message.read.next_offset == 5
    member.leave()


def test_credit_is_obeyed(client, group):
    topic = client.create()
    for i in range(6):
        client.publish(topic, [client.record(value=b"%d" % i)])
    member = Member(client, group, [topic], messages=2, max_message_bytes=1)
    member.assigned(1)
    assert [v for _, _, v in member.records(2)] == [b"0", b"1"]
    # A commit's answer goes the same way: what came before it would be here.
    assert member.commit((topic, 0, 2)) == [None]
    assert not member.waiting["read"]
    member.say(credit=member.consumer.ReadCredit(messages=2, bytes=1 << 20))
    assert member.commit((topic, 0, 2)) == [None] and not member.waiting["read"]
    member.say(credit=member.consumer.ReadCredit(messages=6, bytes=1 << 20))
    assert [v for _, _, v in member.records(4)] == [b"2", b"3", b"4", b"5"]
    member.leave()


def test_a_second_member_takes_its_share_and_the_rest_goes_on(client, group):
    topic = client.create(partitions=4)
    fill(client, topic, 4, 3)
    first = Member(client, group, [topic])
    begun = first.assigned(4)
    first.records(12)
    first.commit(*[(topic, p, 2) for p in range(4)])
    second = Member(client, group, [topic])
    news = first.next("assignment").assignment
    assert len(flat(news.revoke)) == 2 and flat(news.partitions) | flat(news.revoke) == first.owned
    assert news.join_epoch == begun.join_epoch and news.revoke_within_ms > 0
    assert {(p.topic, p.partition): p.offset for p in news.reclaim} == {place: 3 for place in flat(news.revoke)}
    # Until they are given back they are the first one's: its last commit passes.
    given = sorted(flat(news.revoke))
    assert first.commit((*given[0], 3)) == [None]
    kept = flat(news.partitions)
    client.publish(topic, [client.record(value=b"on", partition=p) for _, p in sorted(kept)])
    assert sorted(first.records(2)) == [(p, 3, b"on") for _, p in sorted(kept)]
    first.give_back(news)
    second.assigned(2)
    assert second.owned == set(given)
    # The committed one begins behind its last record, the other where the first had committed.
    assert second.records(1) == [(given[1][1], 2, b"%d-2" % given[1][1])]
    refused = first.commit((*given[0], 3))
    assert [r.reason for r in refused] == ["NOT_ASSIGNED"]
    second.leave()
    first.assigned(4)
    first.leave()


def test_single_acknowledgements_commit_up_to_the_first_gap(client, group):
    topic = client.create()
    fill(client, topic, 1, 10)
    member = Member(client, group, [topic], ack_commit_ms=10)
    member.assigned(1)
    member.records(10)
    member.ack(topic, 0, 5, 7)
    member.ack(topic, 0, 0)
    until(lambda: offsets(client, group) == {0: 1})
    member.ack(topic, 0, 2, 4)
    member.ack(topic, 0, 1)
    until(lambda: offsets(client, group) == {0: 8})
    member.ack(topic, 0, 8, 9)
    member.leave()
    # What was acknowledged before the leave is committed by it.
    assert offsets(client, group) == {0: 10}


def test_a_broken_stream_is_resumed_without_a_rebalance(client, group):
    topic = client.create(partitions=2)
    fill(client, topic, 2, 3)
    first = Member(client, group, [topic])
    first.assigned(2)
    other = Member(client, group, [topic])
    first.assigned(1)
    other.assigned(1)
    [(_, mine)], [(_, others)] = first.owned, other.owned
    # The first has had both in the beginning.
    while first.position.get((topic, mine)) != 3:
        first.records(1)
    first.cancel()
    place = client.api.records.PartitionOffset(topic=topic, partition=mine, offset=3)
    back = Member(client, group, [topic], member_id=first.joined.member_id, resume=client.api.consumer.SubscribeResume(
        epoch=first.epoch, positions=[place]))
    assert back.joined.member_id == first.joined.member_id
    news = back.assigned(1)
    assert back.owned == {(topic, mine)} and news.epoch == first.epoch
    client.publish(topic, [client.record(value=b"after", partition=p) for p in (mine, others)])
    # Nothing twice: it goes on at the position that it named.
    assert back.records(1) == [(mine, 3, b"after")]
    assert back.commit((topic, mine, 4)) == [None]
    assert other.records(4)[-1] == (others, 3, b"after")
    assert not other.waiting["assignment"]
    assert {m.member_id for m in describe(client, group).members} == {back.joined.member_id, other.joined.member_id}
    back.leave()
    other.assigned(2)
    other.leave()


def test_a_leave_frees_everything_at_once(client, group):
    topic = client.create(partitions=2)
    member = Member(client, group, [topic])
    member.assigned(2)
    begun = time.monotonic()
    member.leave()
    described = describe(client, group)
    assert not described.members and described.summary.phase == client.api.groups.GROUP_PHASE_EMPTY
    second = Member(client, group, [topic])
    second.assigned(2)
    assert time.monotonic() - begun < 3
    second.leave()


def test_seek_pause_and_resume(client, group):
    topic = client.create(partitions=2)
    fill(client, topic, 2, 4)
    member = Member(client, group, [topic])
    member.assigned(2)
    member.records(8)
    member.say(seek=member.consumer.MemberSeek(number=1, topic=topic, partition=0, offset=2))
    message = member.next("read")
    assert message.read.seek == 1 and [r.offset for r in message.records.records] == [2, 3]
    both = [member.consumer.TopicPartitions(topic=topic, partitions=[1])]
    member.say(pause=member.consumer.MemberPause(pause=both))
    assert member.commit((topic, 1, 4)) == [None]  # the pause has been taken when this is answered
    client.publish(topic, [client.record(value=b"later", partition=1)])
    client.publish(topic, [client.record(value=b"now", partition=0)])
    assert member.records(1) == [(0, 4, b"now")]
    member.say(pause=member.consumer.MemberPause(resume=both))
    assert member.records(1) == [(1, 4, b"later")]
    # Outside of the log: told, with the valid range, and the stream goes on.
    member.say(seek=member.consumer.MemberSeek(number=2, topic=topic, partition=0, offset=99))
    error = member.next("error").error
    info = explain(client.api, error.error).info
    assert (error.partition, info.reason, info.metadata["high_watermark"]) == (0, "OFFSET_OUT_OF_RANGE", "5")
    member.say(seek=member.consumer.MemberSeek(number=3, topic=topic, partition=0, offset=4))
    assert member.records(1) == [(0, 4, b"now")]
    member.leave()


@pytest.mark.parametrize("reset, first", [("EARLIEST", 0), ("LATEST", 4), ("NONE", None)])
def test_where_a_partition_begins_without_a_commit(client, group, reset, first):
    topic = client.create()
    fill(client, topic, 1, 4)
    member = Member(client, group, [topic], reset=getattr(client.api.consumer, f"OFFSET_RESET_{reset}"))
    member.assigned(1)
    if first is None:
        info = explain(client.api, member.next("error").error.error).info
        assert info.reason == "NO_COMMITTED_OFFSET"
        member.say(seek=member.consumer.MemberSeek(number=1, topic=topic, partition=0, offset=3))
        first = 3
    elif first == 4:
        # Decided once, and kept.
        until(lambda: offsets(client, group) == {0: 4})
    client.publish(topic, [client.record(value=b"new")])
    assert [o for _, o, _ in member.records(5 - first)] == list(range(first, 5))
    member.leave()


def test_a_pattern_finds_topics_that_come_later(client, group):
    prefix = client.create()
    member = Member(client, group, [], patterns=[f"{prefix}(-more)?"])
    member.assigned(1)
    later = client.create(name=prefix + "-more")
    client.create(name=prefix + "-more-still")
    while (later, 0) not in member.owned:
        member.assigned()
    assert member.owned == {(prefix, 0), (later, 0)}
    member.leave()


def test_a_static_member_finds_its_partitions_again(client, group):
    topic = client.create(partitions=4)
    first = Member(client, group, [topic], instance_id="till-1")
    first.assigned(4)
    other = Member(client, group, [topic])
    first.assigned(2)
    other.assigned(2)
    had = first.owned
    with_same_name = Member(client, group, [topic], instance_id="till-1", waits=False)
    code, info = with_same_name.ending()
    assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "UNRELEASED_INSTANCE_ID")
    first.leave(temporary=True)
    back = Member(client, group, [topic], instance_id="till-1")
    assert back.joined.member_id != first.joined.member_id
    back.assigned(2)
    assert back.owned == had and not other.waiting["assignment"]
    back.leave()
    other.assigned(4)
    other.leave()


def join_of(client, **fields):
    return client.api.consumer.SubscribeRequest(join=client.api.consumer.SubscribeJoin(**fields))


@pytest.mark.parametrize("fields, code, reason", [
    (dict(topics=["t"]), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (dict(group="a b", topics=["t"]), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (dict(group="__groups", topics=["t"]), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (dict(group="x" * 250, topics=["t"]), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (dict(group="g-bad"), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (dict(group="g-bad", topics=["a/b"]), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (dict(group="g-bad", topics=["t"], processing_ms=1), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (dict(group="g-bad", topics=["t"], processing_ms=3_600_001), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    (dict(group="g-bad", topics=["t"], assignor="alphabetic"), "INVALID_ARGUMENT", "UNKNOWN_ASSIGNOR"),
    (dict(group="g-bad", patterns=["orders-("]), "INVALID_ARGUMENT", "PATTERN_INVALID"),
])
def test_a_bad_join_is_refused_with_its_reason(client, fields, code, reason):
    stream = Stream(client.consumer.Subscribe)
    stream.api = client.api
    stream.send(join_of(client, **fields))
    got, info = ending(stream)
    assert (got.name, info.reason) == (code, reason), info


@pytest.mark.parametrize("fields", [dict(topics=["t%d" % i for i in range(201)]), dict(patterns=["p%d" % i for i in range(17)]),
                                    dict(topics=["t"], labels={f"l{i}": "v" for i in range(17)})])
def test_a_join_over_a_limit_is_refused_with_the_limit(client, group, fields):
    stream = Member(client, group, fields.pop("topics", []), waits=False, **fields)
    code, info = stream.ending()
    assert info.reason in ("INVALID_REQUEST", "GROUP_LIMIT")
    with pytest.raises(grpc.RpcError) as error:
        describe(client, group)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_the_first_message_must_be_a_join_and_there_is_one(client, group):
    topic = client.create()
    stream = Stream(client.consumer.Subscribe)
    stream.api = client.api
    stream.send(client.api.consumer.SubscribeRequest(heartbeat=client.api.consumer.MemberHeartbeat(epoch=1)))
    code, info = ending(stream)
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STREAM_NOT_OPEN")
    member = Member(client, group, [topic])
    member.send(join_of(client, group=group, topics=[topic]))
    code, info = member.ending()
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STREAM_NOT_OPEN")


def test_resuming_what_is_not_there_is_an_unknown_member(client, group):
    topic = client.create()
    alive = Member(client, group, [topic])
    alive.assigned(1)
    ghost = Member(client, group, [topic], waits=False, member_id="0123456789abcdef" * 2,
                   resume=client.api.consumer.SubscribeResume(epoch=3))
    code, info = ghost.ending()
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNKNOWN_MEMBER")
    alive.leave()


def test_a_stale_epoch_ends_the_membership_s_stream_or_its_commit(client, group):
    topic = client.create(partitions=2)
    first = Member(client, group, [topic])
    first.assigned(2)
    second = Member(client, group, [topic])
    first.assigned(1)
    second.assigned(1)
    [(_, partition)] = second.owned

    def commit(member_id, epoch):
        reply = client.groups.Commit(client.api.groups.CommitRequest(
            group=group, member_id=member_id, member_epoch=epoch,
            offsets=[client.api.records.PartitionOffset(topic=topic, partition=partition, offset=0)]), timeout=TIMEOUT)
        [result] = reply.results
        return explain(client.api, result.error).info.reason if result.error.code else None

    assert commit(second.joined.member_id, second.epoch) is None
    assert commit(first.joined.member_id, first.epoch) == "NOT_ASSIGNED"
    for epoch in (second.epoch + 1, 1):
        try:
            reason = commit(second.joined.member_id, epoch)
        except grpc.RpcError as error:
            from grpc_status import rpc_status
            reason = explain(client.api, rpc_status.from_call(error)).info.reason
        assert reason == "STALE_MEMBER_EPOCH"
    second.leave()
    first.assigned(2)
    first.leave()
