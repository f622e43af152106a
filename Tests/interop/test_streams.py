import struct
import threading
import time

import grpc
import pytest

import kafka_format
from support import Stream, explain


class PublishStream(Stream):
    """PublishStream, opened; acknowledgements are collected by request id."""

    def __init__(self, client, **open_fields):
        super().__init__(client.producer.PublishStream, timeout=60)
        self.api, self.producer, self.acks, self._last = client.api, client.api.producer, {}, 0
        self.send(self.producer.PublishStreamRequest(open=self.producer.PublishOpen(**open_fields)))
        self.opened = self.receive().opened
        self.id, self.epoch = self.opened.producer_id, self.opened.producer_epoch

    def publish(self, topic, batch, partition=0):
        self._last += 1
        target = self.producer.BatchTarget(request_id=self._last, topic=topic, partition=partition)
        self.send(self.producer.PublishStreamRequest(target=target, batch=batch))
        return self._last

    def ack(self, request_id):
        while request_id not in self.acks:
            for ack in self.receive().acks:
                self.acks[ack.request_id] = ack
        return self.acks[request_id]

    def batch(self, records, sequence, codec="none"):
        return kafka_format.encode(records, codec, self.id, self.epoch, sequence)

    def reason(self, request_id):
        ack = self.ack(request_id)
        assert ack.base_offset == -1
        return explain(self.api, ack.error).info.reason


def test_open_announces_producer_and_limits(client):
    stream = PublishStream(client)
    assert stream.id > 0 and stream.epoch == 0
    assert stream.opened.limits.max_message_bytes == 16 << 20
    assert stream.opened.limits.max_in_flight_batches >= 1
    other = PublishStream(client)
    assert other.id != stream.id
    for each in (stream, other):
        rest, code = each.finish()
        assert rest == [] and code == grpc.StatusCode.OK


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_foreign_batches_read_back_decoded(client, codec):
    topic = client.create()
    stream = PublishStream(client)
    sent = [(b"k%d" % i, b"value %d " % i * 20, [("h", b"%d" % i)]) for i in range(100)]
    sent += [(None, b"no key", []), (b"tombstone", None, [])]
    first = stream.publish(topic, stream.batch(sent[:60], 0, codec))
    second = stream.publish(topic, stream.batch(sent[60:], 60, codec))
    assert (stream.ack(first).base_offset, stream.ack(second).base_offset) == (0, 60)
    assert not stream.ack(first).duplicate and not stream.ack(first).HasField("error")
    assert stream.finish()[1] == grpc.StatusCode.OK

    records = client.fetch_all(topic)
    got = [(r.key if r.HasField("key") else None, r.value if r.HasField("value") else None,
            [(h.name, h.value) for h in r.headers]) for r in records]
    assert got == sent
    assert [r.offset for r in records] == list(range(102))
    assert [r.timestamp_ms for r in records[:60]] == [1_700_000_000_000 + i for i in range(60)]

    # The same bytes come back, but for offset and epoch, which the broker stamps.
    decoded, batches = kafka_format.decode(client.fetch_all(topic, decoded=False))
    assert [(r.key, r.value, list(r.headers)) for r in decoded] == sent
    assert [b.base_offset for b in batches] == [0, 60]
    assert all(b.compression_type == kafka_format.CODECS[codec] for b in batches)
    assert all(b.producer_id == stream.id for b in batches)


def test_duplicates_get_their_first_offset(client):
    topic = client.create()
    stream = PublishStream(client)
    batches = [stream.batch([(None, b"%d" % i)], i) for i in range(4)]
    ids = [stream.publish(topic, batch) for batch in batches]
    assert [stream.ack(i).base_offset for i in ids] == [0, 1, 2, 3]
    again = stream.publish(topic, batches[2])
    assert stream.ack(again).duplicate and stream.ack(again).base_offset == 2
    assert not stream.ack(again).HasField("error")
    # Also from a new stream of the same producer, as after a lost connection.
    resumed = PublishStream(client, producer_id=stream.id, producer_epoch=stream.epoch)
    assert (resumed.id, resumed.epoch) == (stream.id, stream.epoch)
    again = resumed.publish(topic, batches[3])
    assert resumed.ack(again).duplicate and resumed.ack(again).base_offset == 3
    following = resumed.publish(topic, stream.batch([(None, b"4")], 4))
    assert resumed.ack(following).base_offset == 4
    stream.finish()
    resumed.finish()
    assert [r.value for r in client.fetch_all(topic)] == [b"0", b"1", b"2", b"3", b"4"]


def test_out_of_order_and_unknown_producers_are_refused(client):
    topic = client.create()
    stream = PublishStream(client)
    assert stream.ack(stream.publish(topic, stream.batch([(None, b"a")], 0))).base_offset == 0
    gap = stream.publish(topic, stream.batch([(None, b"c")], 2))
    assert stream.reason(gap) == "OUT_OF_ORDER_SEQUENCE"
    assert stream.ack(stream.publish(topic, stream.batch([(None, b"b")], 1))).base_offset == 1
    assert stream.ack(stream.publish(topic, stream.batch([(None, b"c")], 2))).base_offset == 2

    fresh = client.create()
    unknown = stream.publish(fresh, stream.batch([(None, b"x")], 5))
    assert stream.reason(unknown) == "UNKNOWN_PRODUCER"
    assert stream.finish()[1] == grpc.StatusCode.OK
    assert [r.value for r in client.fetch_all(topic)] == [b"a", b"b", b"c"]
    assert client.fetch_all(fresh) == []


def corrupt(batch, at, value=None):
    out = bytearray(batch)
    out[at] = out[at] ^ 0x01 if value is None else value
    return bytes(out)


def test_bad_batches_leave_the_stream_alive(client):
    topic = client.create()
    stream = PublishStream(client)
    good = stream.batch([(b"k", b"v")], 0)
    bad = {
        "payload bit": corrupt(good, len(good) - 1),
        "crc bit": corrupt(good, 17),
        "magic": corrupt(good, 16, 1),
        "truncated": good[:-3],
        "header only": good[:61],
        "short": good[:20],
        "empty": b"",
        "two batches": good + good,
        "negative length": good[:8] + struct.pack(">i", -1) + good[12:],
        "huge length": good[:8] + struct.pack(">i", 2**31 - 1) + good[12:],
    }
    for name, batch in bad.items():
        reason = stream.reason(stream.publish(topic, batch))
        assert reason in ("BATCH_CORRUPT", "BATCH_INVALID"), name
    assert client.fetch_all(topic) == []
    assert stream.ack(stream.publish(topic, good)).base_offset == 0
    assert stream.finish()[1] == grpc.StatusCode.OK
    assert [(r.key, r.value) for r in client.fetch_all(topic)] == [(b"k", b"v")]


def test_control_and_transactional_batches_are_refused(client):
    from kafka.record._crc32c import crc

    topic = client.create()
    stream = PublishStream(client)
    good = stream.batch([(b"k", b"v")], 0)
    for bits in (0x10, 0x20, 0x80, 0x07):
        batch = bytearray(good)
        batch[22] |= bits
        batch[17:21] = struct.pack(">I", crc(bytes(batch[21:])))
        assert stream.reason(stream.publish(topic, bytes(batch))) == "BATCH_INVALID", hex(bits)
    stream.finish()
    assert client.fetch_all(topic) == []


def test_unknown_targets_fail_alone(client):
    topic = client.create()
    stream = PublishStream(client)
    batch = stream.batch([(None, b"x")], 0)
    assert stream.reason(stream.publish("no-such-topic", batch)) == "TOPIC_NOT_FOUND"
    assert stream.reason(stream.publish(topic, batch, partition=9)) == "PARTITION_NOT_FOUND"
    assert stream.ack(stream.publish(topic, batch)).base_offset == 0
    stream.finish()


def test_a_stream_must_be_opened_first(client):
    producer = client.api.producer
    stream = Stream(client.producer.PublishStream)
    stream.send(producer.PublishStreamRequest(target=producer.BatchTarget(request_id=1, topic="t"), batch=b"x"))
    with pytest.raises(grpc.RpcError) as error:
        stream.receive()
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    stream.half_close()


def test_parallel_streams(client):
    topic = client.create(partitions=8)
    failures = []

    def produce(partition):
        try:
            stream = PublishStream(client)
            window, ids = stream.opened.limits.max_in_flight_batches, []
            for i in range(50):
                if i >= window:
                    stream.ack(ids[i - window])
                ids.append(stream.publish(
                    topic, stream.batch([(None, b"%d-%d" % (partition, i))], i), partition))
            assert [stream.ack(i).base_offset for i in ids] == list(range(50))
            assert stream.finish()[1] == grpc.StatusCode.OK
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=produce, args=(p,)) for p in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    for partition in range(8):
        values = [r.value for r in client.fetch_all(topic, partition)]
        assert values == [b"%d-%d" % (partition, i) for i in range(50)]


def test_more_in_flight_than_announced_breaks_nothing(client):
    """P7: what is over the window is refused, what follows it is out of order, the rest is there once."""
    topic = client.create()
    stream = PublishStream(client)
    count = 20 * stream.opened.limits.max_in_flight_batches
    batches = [stream.batch([(None, b"%d" % i)], i) for i in range(count)]
    ids = [stream.publish(topic, batch) for batch in batches]
    accepted = 0
    for request in ids:
        ack = stream.ack(request)
        if not ack.HasField("error") and accepted == request - 1:
            assert ack.base_offset == accepted
            accepted += 1
        else:
            assert stream.reason(request) in ("TOO_MANY_IN_FLIGHT", "OUT_OF_ORDER_SEQUENCE")
    for i in range(accepted, count):
        assert stream.ack(stream.publish(topic, batches[i])).base_offset == i
    assert stream.finish()[1] == grpc.StatusCode.OK
    assert [r.value for r in client.fetch_all(topic)] == [b"%d" % i for i in range(count)]


class ReadStream(Stream):
    def __init__(self, client, partitions, messages, size, **open_fields):
        super().__init__(client.consumer.Read, timeout=60)
        self.consumer = client.api.consumer
        wanted = [self.consumer.FetchPartition(topic=t, partition=p, offset=o) for t, p, o in partitions]
        self.send(self.consumer.ReadRequest(
            open=self.consumer.ReadOpen(partitions=wanted, **open_fields),
            credit=self.consumer.ReadCredit(messages=messages, bytes=size)))
        self.opened = self.receive()
        assert self.opened.HasField("opened")
        assert self.opened.opened.limits.max_message_bytes == 16 << 20

    def receive(self):
        """The next message that is not a heartbeat, which may come at any time."""
        while True:
            message = super().receive()
            if not message.HasField("heartbeat"):
                return message

    def grant(self, messages, size):
        self.send(self.consumer.ReadRequest(
            credit=self.consumer.ReadCredit(messages=messages, bytes=size)))


def test_read_obeys_its_credits(client):
    topic = client.create()
    for i in range(20):
        client.publish(topic, [client.record(value=b"%02d" % i)])
    stream = ReadStream(client, [(topic, 0, 0)], messages=5, size=1 << 20, max_message_bytes=1)
    got = []
    while len(got) < 5:
        answer = stream.receive()
        records, _ = kafka_format.decode(answer.batches)
        got += [r.value for r in records]
        assert answer.read.next_offset == len(got) and answer.read.high_watermark == 20
        assert answer.read.total_messages == len(got)
    assert got == [b"%02d" % i for i in range(5)]

    # Nothing more may come without more credit; a repeated grant is harmless.
    arrived = []
    waiter = threading.Thread(target=lambda: arrived.append(stream.receive()), daemon=True)
    stream.grant(5, 1 << 20)
    waiter.start()
    waiter.join(0.7)
    assert arrived == []
    stream.grant(20, 1 << 20)
    waiter.join(10)
    records, _ = kafka_format.decode(arrived[0].batches)
    got += [r.value for r in records]
    while len(got) < 20:
        records, _ = kafka_format.decode(stream.receive().batches)
        got += [r.value for r in records]
    assert got == [b"%02d" % i for i in range(20)]
    stream.cancel()


def test_read_follows_the_tail_and_several_partitions(client):
    topic = client.create(partitions=3)
    stream = ReadStream(client, [(topic, p, 0) for p in range(3)], messages=1000, size=1 << 20)
    sent = {p: [] for p in range(3)}
    for i in range(30):
        client.publish(topic, [client.record(value=b"%d" % i, partition=i % 3)])
        sent[i % 3].append(b"%d" % i)
    got = {p: [] for p in range(3)}
    while sum(map(len, got.values())) < 30:
        answer = stream.receive()
        if not answer.HasField("read"):
            continue
        records, batches = kafka_format.decode(answer.batches)
        assert batches[0].base_offset == answer.read.base_offset == len(got[answer.read.partition])
        got[answer.read.partition] += [r.value for r in records]
    assert got == sent
    stream.cancel()


def test_one_bad_partition_does_not_end_the_read(client):
    topic = client.create(partitions=1)
    client.publish(topic, [client.record(value=b"x")])
    stream = ReadStream(
        client, [("no-such-topic", 0, 0), (topic, 7, 0), (topic, 0, 0)], messages=10, size=1 << 20)
    errors, values = {}, []
    while len(errors) < 2 or not values:
        answer = stream.receive()
        if answer.HasField("error"):
            key = (answer.error.topic, answer.error.partition)
            errors[key] = explain(client.api, answer.error.error).info.reason
        elif answer.HasField("read"):
            values += [r.value for r in kafka_format.decode(answer.batches)[0]]
    assert errors == {("no-such-topic", 0): "TOPIC_NOT_FOUND", (topic, 7): "PARTITION_NOT_FOUND"}
    assert values == [b"x"]
    assert stream.finish()[1] == grpc.StatusCode.OK


def test_silent_streams_carry_heartbeats(client):
    """Stream rule 3: who has been silent for 5 s says that it is still there."""
    topic = client.create()
    client.publish(topic, [client.record(value=b"x")])
    reader = ReadStream(client, [(topic, 0, 0)], messages=10, size=1 << 20)
    assert reader.receive().read.next_offset == 1
    producer = PublishStream(client)
    begin = time.monotonic()
    beats = [Stream.receive(reader), producer.receive()]
    assert 2 < time.monotonic() - begin < 15
    for beat in beats:
        assert beat.HasField("heartbeat")
        assert abs(beat.heartbeat.sent_ms - time.time() * 1000) < 60_000
    assert producer.finish()[1] == grpc.StatusCode.OK
    reader.cancel()


def test_a_slow_reader_gets_everything_in_the_end(client):
    """More than the flow-control windows hold, taken slowly: nothing is lost or reordered."""
    topic = client.create()
    value = b"x" * (256 << 10)
    for i in range(0, 64, 8):
        client.publish(topic, [client.record(key=b"%d" % (i + j), value=value) for j in range(8)], timeout=60)
    stream = ReadStream(client, [(topic, 0, 0)], messages=1000, size=1 << 30)
    keys, gate = [], threading.Event()
    while len(keys) < 64:
        gate.wait(0.02)
        answer = stream.receive()
        if answer.HasField("read"):
            keys += [r.key for r in kafka_format.decode(answer.batches)[0]]
    assert keys == [b"%d" % i for i in range(64)]
    stream.cancel()
