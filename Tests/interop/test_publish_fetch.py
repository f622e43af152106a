import threading
import time

import grpc
import pytest
from grpc_status import rpc_status

import kafka_format
from support import TIMEOUT, explain, refused


def test_records_come_back_as_they_went(api, client):
    topic = client.create()
    Header = api.records.Header
    sent = [
        client.record(key=b"k", value=b"v", timestamp_ms=1_700_000_000_123),
        client.record(key=b"", value=b""),
        client.record(value=b"no key"),
        client.record(key=b"tombstone"),
        client.record(value=b"h", headers=[Header(name="a", value=b"1"), Header(name="a", value=b"\x00\xff"),
                                           Header(name="Größe", value=b"")]),
        client.record(),
    ]
    before = int(time.time() * 1000) - 1000
    answer = client.publish(topic, sent)
    assert [(r.partition, r.offset) for r in answer.results] == [(0, i) for i in range(6)]
    assert not any(r.HasField("error") for r in answer.results)

    part = client.fetch(topic)
    assert (part.log_start_offset, part.high_watermark, part.next_offset) == (0, 6, 6)
    assert len(part.records) == 6 and part.batches == b""
    for offset, (want, got) in enumerate(zip(sent, part.records)):
        assert got.offset == offset
        assert got.HasField("key") == want.HasField("key") and got.key == want.key
        assert got.HasField("value") == want.HasField("value") and got.value == want.value
        assert list(got.headers) == list(want.headers)
    assert part.records[0].timestamp_ms == 1_700_000_000_123
    assert before <= part.records[1].timestamp_ms <= int(time.time() * 1000) + 1000


def test_publish_tells_where_time_went(client):
    topic = client.create()
    begin = time.monotonic()
    timings = client.publish(topic, [client.record(value=b"x")]).timings
    elapsed = (time.monotonic() - begin) * 1e6
    assert 0 < timings.synced_us <= elapsed, "a durable publish waits for a sync"
    assert 0 <= timings.queued_us <= elapsed


def test_keys_land_where_kafka_puts_them(client):
    count = 17
    topic = client.create(partitions=count)
    keys = [b"", b"a", b"ab", b"abc", b"abcd", b"foobar", b"\xff" * 7, b"\x80\x00\x7f", "日本語".encode()]
    keys += [f"customer-{i}".encode() for i in range(300)]
    answer = client.publish(topic, [client.record(key=key, value=key) for key in keys])
    for key, result in zip(keys, answer.results):
        assert result.partition == kafka_format.partition(key, count), key
    stored = {}
    for partition in range(count):
        for record in client.fetch_all(topic, partition):
            stored[record.key] = partition
    assert stored == {key: kafka_format.partition(key, count) for key in keys}


def test_explicit_partition_wins_and_bad_ones_fail_alone(api, client):
    topic = client.create(partitions=4)
    answer = client.publish(topic, [
        client.record(value=b"0", partition=0), client.record(value=b"3", partition=3),
        client.record(value=b"bad", partition=4), client.record(value=b"neg", partition=-1),
        client.record(value=b"old", timestamp_ms=-5), client.record(value=b"1", partition=1),
    ])
    assert [r.partition for r in answer.results[:2]] == [0, 3]
    assert answer.results[5].partition == 1 and answer.results[5].offset == 0
    reasons = [explain(api, answer.results[i].error).info.reason for i in (2, 3, 4)]
    assert reasons == ["PARTITION_NOT_FOUND", "PARTITION_NOT_FOUND", "TIMESTAMP_INVALID"]
    assert all(answer.results[i].offset == -1 for i in (2, 3, 4))
    assert [len(client.fetch_all(topic, p)) for p in range(4)] == [1, 1, 0, 1]


def test_timestamps_far_ahead_are_refused(api, client):
    topic = client.create()
    soon = int(time.time() * 1000) + 30 * 60 * 1000
    far = int(time.time() * 1000) + 2 * 60 * 60 * 1000
    answer = client.publish(topic, [
        client.record(value=b"ok", timestamp_ms=soon), client.record(value=b"no", timestamp_ms=far),
        client.record(value=b"no", timestamp_ms=2**63 - 1)])
    assert not answer.results[0].HasField("error")
    for result in answer.results[1:]:
        assert explain(api, result.error).info.reason == "TIMESTAMP_INVALID"
    assert [r.value for r in client.fetch_all(topic)] == [b"ok"]


def test_keyless_records_use_every_partition_round_robin(client):
    topic = client.create(partitions=3, partitioner="round-robin")
    answer = client.publish(topic, [client.record(value=bytes([i])) for i in range(9)])
    counts = [sum(r.partition == p for r in answer.results) for p in range(3)]
    assert counts == [3, 3, 3]


@pytest.mark.parametrize("megabytes", [1, 8])
def test_large_messages(client, megabytes):
    topic = client.create()
    # 8 MiB is the record limit with everything in it.
    value = bytes(range(256)) * (megabytes * 4096 - 4)
    answer = client.publish(topic, [client.record(key=b"large", value=value)], timeout=60)
    assert not answer.results[0].HasField("error"), answer.results[0].error
    part = client.fetch(topic, max_bytes=12 << 20, timeout=60)
    assert len(part.records) == 1
    assert part.records[0].value == value


def test_a_record_over_the_limit_fails_alone(api, client):
    topic = client.create()
    answer = client.publish(
        topic, [client.record(value=b"small"), client.record(value=b"x" * ((8 << 20) + 1))], timeout=60)
    assert not answer.results[0].HasField("error")
    problem = explain(api, answer.results[1].error)
    assert problem.info.reason == "RECORD_TOO_LARGE"
    assert problem.info.metadata["outcome"] == "definite"
    assert len(client.fetch_all(topic)) == 1


def test_a_message_over_the_limit_is_refused_with_the_limit(api, client):
    topic = client.create()
    records = [client.record(value=b"x" * (4 << 20)) for _ in range(5)]
    with refused(api, grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE") as refusal:
        client.publish(topic, records, timeout=60)
    assert str(16 << 20) in refusal.status.message or str(16 << 20) in str(refusal.info.metadata)
    assert client.publish(topic, [client.record(value=b"next")]).results[0].offset == 0


def test_unknown_things_are_named(api, client):
    with refused(api, grpc.StatusCode.NOT_FOUND, "TOPIC_NOT_FOUND") as refusal:
        client.publish("no-such-topic", [client.record(value=b"x")])
    assert "no-such-topic" in refusal.status.message
    assert refusal.info.metadata["outcome"] == "definite"
    assert refusal.info.metadata["retriable"] == "false"

    topic = client.create(partitions=2)
    client.publish(topic, [client.record(value=b"x", partition=0)])
    Wanted = api.consumer.FetchPartition
    answer = client.consumer.Fetch(api.consumer.FetchRequest(decoded=True, partitions=[
        Wanted(topic="no-such-topic"), Wanted(topic=topic, partition=2),
        Wanted(topic=topic, partition=0, offset=7), Wanted(topic=topic, partition=0, offset=-1),
        Wanted(topic=topic, partition=0, offset=0)]), timeout=TIMEOUT)
    reasons = [explain(api, part.error).info for part in answer.partitions[:4]]
    assert [info.reason for info in reasons] == [
        "TOPIC_NOT_FOUND", "PARTITION_NOT_FOUND", "OFFSET_OUT_OF_RANGE", "INVALID_REQUEST"]
    assert reasons[2].metadata["log_start_offset"] == "0"
    assert reasons[2].metadata["high_watermark"] == "1"
    assert [r.value for r in answer.partitions[4].records] == [b"x"], "good partitions are served"


def test_empty_requests_are_explained(api, client):
    topic = client.create()
    with refused(api, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as refusal:
        client.publish(topic, [])
    assert "records" in refusal.violations
    with refused(api, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as refusal:
        client.consumer.Fetch(api.consumer.FetchRequest(), timeout=TIMEOUT)
    assert "partitions" in refusal.violations


def test_unknown_methods_are_unimplemented(api, broker):
    with broker.channel() as channel:
        call = channel.unary_unary("/skein.v1.Producer/Teleport")
        with refused(api, grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN"):
            call(b"", timeout=TIMEOUT)


def test_compressed_requests_are_taken(api, broker, client):
    """Stock clients compress on request: gzip is taken, deflate refused by name."""
    topic = client.create()
    request = api.producer.PublishRequest(topic=topic, records=[client.record(value=b"x" * 10_000)])
    with broker.channel(options=[("grpc.default_compression_algorithm", 2)]) as channel:
        publish = api.grpc["producer"].ProducerStub(channel).Publish
        assert publish(request, timeout=TIMEOUT).results[0].offset == 0
        assert client.fetch_all(topic)[0].value == b"x" * 10_000
        with refused(api, grpc.StatusCode.UNIMPLEMENTED, "ENCODING_UNSUPPORTED"):
            publish(request, timeout=TIMEOUT, compression=grpc.Compression.Deflate)


def test_fetch_waits_for_data(client):
    topic = client.create()
    timer = threading.Timer(0.5, lambda: client.publish(topic, [client.record(value=b"late")]))
    timer.start()
    begin = time.monotonic()
    part = client.fetch(topic, max_wait_ms=10_000)
    elapsed = time.monotonic() - begin
    timer.join()
    assert [r.value for r in part.records] == [b"late"]
    assert 0.3 < elapsed < 8


def test_fetch_answers_empty_after_its_wait(client):
    topic = client.create()
    begin = time.monotonic()
    part = client.fetch(topic, max_wait_ms=300)
    assert 0.25 < time.monotonic() - begin < 5
    assert len(part.records) == 0 and part.next_offset == 0 and not part.HasField("error")


def test_deadline_passes_while_fetch_waits(api, client):
    topic = client.create()
    begin = time.monotonic()
    with refused(api, grpc.StatusCode.DEADLINE_EXCEEDED):
        client.fetch(topic, max_wait_ms=30_000, timeout=0.7)
    assert 0.6 < time.monotonic() - begin < 5
    assert client.publish(topic, [client.record(value=b"alive")]).results[0].offset == 0


def test_a_call_can_be_cancelled(client):
    topic = client.create()
    wanted = client.api.consumer.FetchPartition(topic=topic)
    request = client.api.consumer.FetchRequest(partitions=[wanted], max_wait_ms=30_000)
    call = client.consumer.Fetch.future(request, timeout=TIMEOUT)
    time.sleep(0.3)
    assert call.cancel() and call.cancelled()
    with pytest.raises(grpc.FutureCancelledError):
        call.result(timeout=5)
    assert client.publish(topic, [client.record(value=b"alive")]).results[0].offset == 0


def test_parallel_calls_keep_their_answers_apart(client):
    topic = client.create(partitions=8)
    futures = []
    for i in range(200):
        value = f"{i}".encode()
        request = client.api.producer.PublishRequest(
            topic=topic, records=[client.record(value=value, partition=i % 8)])
        futures.append((i, value, client.producer.Publish.future(request, timeout=TIMEOUT)))
    places = {}
    for i, value, future in futures:
        result = future.result().results[0]
        assert result.partition == i % 8 and not result.HasField("error")
        places[result.partition, result.offset] = value
    assert len(places) == 200
    stored = {(p, r.offset): r.value for p in range(8) for r in client.fetch_all(topic, p)}
    assert stored == places


def test_many_records_in_one_call(client):
    topic = client.create(partitions=4)
    values = [f"value-{i}".encode() for i in range(100_000)]
    answer = client.publish(topic, [client.record(key=v, value=v) for v in values], timeout=120)
    assert len(answer.results) == 100_000 and not any(r.HasField("error") for r in answer.results)
    stored = {}
    for partition in range(4):
        for record in client.fetch_all(topic, partition, max_bytes=8 << 20):
            stored[partition, record.offset] = record.value
    assert len(stored) == 100_000
    for value, result in zip(values, answer.results):
        assert stored[result.partition, result.offset] == value


def test_max_bytes_gives_at_least_one_batch_and_stops(client):
    topic = client.create()
    for i in range(10):
        client.publish(topic, [client.record(value=bytes([i]) * 1000)])
    part = client.fetch(topic, max_bytes=1)
    assert [r.offset for r in part.records] == [0] and part.next_offset == 1
    part = client.fetch(topic, max_bytes=3500)
    assert 1 < len(part.records) < 10 and part.next_offset == len(part.records)
    assert [r.value for r in client.fetch_all(topic, max_bytes=3500)] == [bytes([i]) * 1000 for i in range(10)]


def test_batches_of_publish_decode_in_kafka_python(client):
    topic = client.create()
    sent = [(b"k%d" % i, b"value %d" % i) for i in range(50)] + [(None, b"no key"), (b"no value", None)]
    records = []
    for key, value in sent:
        record = client.record(headers=[client.api.records.Header(name="n", value=b"1")])
        if key is not None:
            record.key = key
        if value is not None:
            record.value = value
        records.append(record)
    client.publish(topic, records[:20])
    client.publish(topic, records[20:])
    decoded, batches = kafka_format.decode(client.fetch_all(topic, decoded=False))
    assert [(r.key, r.value) for r in decoded] == sent
    assert [r.offset for r in decoded] == list(range(52))
    assert all(r.headers == [("n", b"1")] for r in decoded)
    assert len(batches) >= 2 and all(batch.leader_epoch >= 1 for batch in batches)
