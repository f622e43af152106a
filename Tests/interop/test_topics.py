import grpc
import pytest

from support import TIMEOUT, refused


def test_health_is_serving(api, broker):
    health = api.health
    with broker.channel() as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health.HealthCheckRequest.SerializeToString,
            response_deserializer=health.HealthCheckResponse.FromString)
        for service in ("", "skein.v1.Producer", "skein.v1.Consumer", "skein.v1.Topics"):
            answer = check(health.HealthCheckRequest(service=service), timeout=TIMEOUT)
            assert answer.status == health.HealthCheckResponse.SERVING, service
        with refused(api, grpc.StatusCode.NOT_FOUND):
            check(health.HealthCheckRequest(service="no.such.Service"), timeout=TIMEOUT)

        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health.HealthCheckRequest.SerializeToString,
            response_deserializer=health.HealthCheckResponse.FromString)
        call = watch(health.HealthCheckRequest(), timeout=TIMEOUT)
        assert next(call).status == health.HealthCheckResponse.SERVING
        call.cancel()


def test_cluster_describes_itself_and_the_caller(client):
    answer = client.cluster.Describe(client.api.cluster.DescribeClusterRequest(), timeout=TIMEOUT)
    assert answer.cluster_id
    assert len(answer.brokers) == 1 and ":" in answer.brokers[0].address
    assert (answer.tenant, answer.principal) == ("default", "admin")
    assert answer.limits.max_message_bytes == 16 << 20
    assert answer.limits.max_record_bytes == 8 << 20
    assert answer.limits.default_fetch_bytes == 1 << 20


def test_topic_lifecycle(api, client):
    topics = api.topics
    name = client.create(partitions=3, settings={"retention.ms": "86400000"})
    described = client.topics.Describe(topics.DescribeTopicRequest(name=name), timeout=TIMEOUT)
    assert described.topic.name == name
    assert described.topic.partitions == 3
    assert described.topic.partitioner == "murmur2"
    assert len(described.topic.topic_id) == 32
    assert [p.partition for p in described.partitions] == [0, 1, 2]
    assert all((p.log_start_offset, p.high_watermark, p.log_end_offset) == (0, 0, 0)
               for p in described.partitions)
    settings = {s.name: s for s in described.settings}
    assert (settings["retention.ms"].value, settings["retention.ms"].source) == ("86400000", "topic")
    assert any(s.source == "default" and s.value == s.default_value for s in described.settings)

    with refused(api, grpc.StatusCode.ALREADY_EXISTS, "TOPIC_EXISTS"):
        client.create(name=name)

    client.topics.Delete(topics.DeleteTopicRequest(name=name), timeout=TIMEOUT)
    with refused(api, grpc.StatusCode.NOT_FOUND, "TOPIC_NOT_FOUND"):
        client.topics.Describe(topics.DescribeTopicRequest(name=name), timeout=TIMEOUT)

    again = client.create(name=name)
    anew = client.topics.Describe(topics.DescribeTopicRequest(name=again), timeout=TIMEOUT)
    assert anew.topic.topic_id != described.topic.topic_id, "a topic made anew is another topic"
    assert anew.topic.partitions == 1


def test_topics_are_listed_in_pages_by_name(api, client):
    made = {client.create() for _ in range(5)}
    seen, token = [], ""
    while True:
        page = client.topics.List(
            api.topics.ListTopicsRequest(page_size=2, page_token=token), timeout=TIMEOUT)
        assert len(page.topics) <= 2
        seen += [topic.name for topic in page.topics]
        token = page.next_page_token
        if not token:
            break
    assert made <= set(seen)
    assert seen == sorted(seen) and len(seen) == len(set(seen))


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", "__internal", "x" * 250, "Größe", "a b"])
def test_invalid_names_are_explained(api, client, name):
    request = api.topics.CreateTopicRequest(name=name, partitions=1)
    with refused(api, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as refusal:
        client.topics.Create(request, timeout=TIMEOUT)
    assert list(refusal.violations) == ["name"]
    assert refusal.info.metadata["outcome"] == "definite"


def test_all_problems_come_at_once(api, client):
    request = api.topics.CreateTopicRequest(
        name="no/slash", partitions=-1, partitioner="alphabetical",
        settings={"retention.ms": "soon", "colour": "red"})
    with refused(api, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as refusal:
        client.topics.Create(request, timeout=TIMEOUT)
    fields = " ".join(refusal.violations)
    assert len(refusal.violations) == 5, refusal.violations
    for word in ("name", "partitions", "partitioner", "retention.ms", "colour"):
        assert word in fields, refusal.violations


@pytest.mark.parametrize("count", [-(2**31), -1, 10_001, 2**31 - 1])
def test_absurd_partition_counts_are_refused(api, client, count):
    request = api.topics.CreateTopicRequest(name="absurd", partitions=count)
    with refused(api, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as refusal:
        client.topics.Create(request, timeout=TIMEOUT)
    assert list(refusal.violations) == ["partitions"]


def test_offsets_by_place_and_time(api, client):
    topic = client.create()
    begin = 1_700_000_000_000
    client.publish(topic, [client.record(value=b"a", timestamp_ms=begin)])
    client.publish(topic, [client.record(value=b"b", timestamp_ms=begin + 1000)])
    client.publish(topic, [client.record(value=b"c", timestamp_ms=begin + 2000)])

    def find(spec, time=0):
        answer = client.topics.ListOffsets(
            api.topics.ListOffsetsRequest(topic=topic, spec=spec, timestamp_ms=time), timeout=TIMEOUT)
        assert len(answer.partitions) == 1 and not answer.partitions[0].HasField("error")
        return answer.partitions[0].offset, answer.partitions[0].timestamp_ms

    assert find(api.topics.OFFSET_SPEC_EARLIEST)[0] == 0
    assert find(api.topics.OFFSET_SPEC_LATEST)[0] == 3
    assert find(api.topics.OFFSET_SPEC_TIMESTAMP, begin) == (0, begin)
    assert find(api.topics.OFFSET_SPEC_TIMESTAMP, begin + 1) == (1, begin + 1000)
    assert find(api.topics.OFFSET_SPEC_TIMESTAMP, begin + 2000) == (2, begin + 2000)
    assert find(api.topics.OFFSET_SPEC_TIMESTAMP, begin + 2001) == (3, -1)


def test_deleted_records_are_out_of_range(api, client):
    topic = client.create()
    client.publish(topic, [client.record(value=bytes([i])) for i in range(10)])
    answer = client.topics.DeleteRecords(
        api.topics.DeleteRecordsRequest(
            topic=topic, partitions=[api.topics.DeleteRecordsPartition(partition=0, before_offset=4)]),
        timeout=TIMEOUT)
    assert answer.partitions[0].offset == 4
    part = client.fetch(topic, offset=3)
    assert part.error.code == grpc.StatusCode.OUT_OF_RANGE.value[0]
    assert [r.value for r in client.fetch(topic, offset=4).records] == [bytes([i]) for i in range(4, 10)]
