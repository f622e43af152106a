"""Another partitioner for a live topic, and `assign`, with a stock client."""

import grpc

import kafka_format
from support import TIMEOUT, explain, refused
from test_streams import PublishStream


def bind(client, topic, partitioner, **fields):
    plugins = client.api.plugins
    request = plugins.BindPartitionerRequest(
        topic=topic, binding=plugins.PartitionerBinding(partitioner=partitioner), **fields)
    return list(client.plugins.Bind(request, timeout=TIMEOUT))


def assign(stream, topic, keys, generation, request_id=1):
    """The AssignAnswer for these keys; None: no key."""
    question = stream.producer.AssignRequest(
        request_id=request_id, topic=topic, generation=generation,
        key_lengths=[0 if key is None else len(key) + 1 for key in keys],
        keys=b"".join(key or b"" for key in keys))
    stream.send(stream.producer.PublishStreamRequest(assign=question))
    return stream.receive().assigned[0]


def send(stream, topic, records, partition, generation, sequence, request_id):
    target = stream.producer.BatchTarget(
        request_id=request_id, topic=topic, partition=partition, generation=generation)
    batch = kafka_format.encode(records, "none", stream.id, stream.epoch, sequence)
    stream.send(stream.producer.PublishStreamRequest(target=target, batch=batch))
    return stream.ack(request_id)


def test_a_fenced_swap_is_followed_by_a_stock_client(api, client):
    topic = client.create(partitions=4)
    keys = [b"key-%d" % i for i in range(40)]
    client.publish(topic, [client.record(key=key, value=b"old") for key in keys])
    stream = PublishStream(client)
    places = assign(stream, topic, keys + [None], 1)
    assert places.generation == 1 and places.partitions[-1] == -1
    assert list(places.partitions[:-1]) == [r.partition for r in client.publish(
        topic, [client.record(key=key, value=b"old") for key in keys]).results]
    here = places.partitions[0]
    first = send(stream, topic, [(keys[0], b"0", [])], here, 1, 0, 2)
    assert not first.HasField("error")

    with refused(api, grpc.StatusCode.FAILED_PRECONDITION, "REORDER_NOT_ACCEPTED") as refusal:
        bind(client, topic, "sticky")
    assert int(refusal.info.metadata["sampled"]) == int(refusal.info.metadata["moved"]) == 81
    told = bind(client, topic, "sticky", fence=True)
    names = [api.plugins.BindPhase.Name(step.phase) for step in told]
    assert names == ["BIND_PHASE_" + word for word in
                     ("PREPARED", "FENCED", "COMMITTED", "FLIPPED", "DRAINED", "DONE")]
    assert all(step.generation == 2 for step in told if step.phase != api.plugins.BIND_PHASE_FENCED)

    described = client.topics.Describe(api.topics.DescribeTopicRequest(name=topic), timeout=TIMEOUT)
    assert [g.partitioner for g in described.generations] == ["murmur2", "sticky"]
    assert described.generations[1].fenced and sum(described.generations[1].cuts) == 81

    # A retry of what was taken is a duplicate; anything new is refused and consumes nothing.
    again = send(stream, topic, [(keys[0], b"0", [])], here, 1, 0, 3)
    assert again.duplicate and again.base_offset == first.base_offset
    old = send(stream, topic, [(keys[0], b"1", [])], here, 1, 1, 4)
    assert explain(api, old.error).info.reason == "PARTITIONER_CHANGED"
    assert explain(api, assign(stream, topic, keys, 1, 5).error).info.reason == "PARTITIONER_CHANGED"
    assert list(assign(stream, topic, keys, 2, 6).partitions) == [-1] * 40
    new = send(stream, topic, [(keys[0], b"1", [])], here, 2, 1, 7)
    assert not new.HasField("error") and new.base_offset >= described.generations[1].cuts[here]
    rest, code = stream.finish()
    assert rest == [] and code == grpc.StatusCode.OK

    back = list(client.plugins.Rollback(
        api.plugins.RollbackPartitionerRequest(topic=topic), timeout=TIMEOUT))
    assert back[-1].phase == api.plugins.BIND_PHASE_DONE and back[-1].generation == 3
    with refused(api, grpc.StatusCode.NOT_FOUND, "TOPIC_NOT_FOUND"):
        bind(client, topic + "-absent", "murmur2")
