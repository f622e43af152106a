"""What the examples share: a channel with a client certificate, and three calls of the contract.

Everything here is stock grpcio and the stubs generated from Proto/; there is no client library of ours.
"""

import json
import os

import grpc
from google.rpc import status_pb2  # noqa: F401  (generated from Proto/ with the others)
from skein.v1 import consumer_pb2, consumer_pb2_grpc, groups_pb2, groups_pb2_grpc, producer_pb2, producer_pb2_grpc
from skein.v1 import records_pb2, topics_pb2, topics_pb2_grpc


class Bus:
    """Settings come from SKEIN_SERVERS, SKEIN_TLS_CA, SKEIN_TLS_CERTIFICATE and SKEIN_TLS_KEY."""

    def __init__(self):
        def read(name):
            with open(os.environ[name], "rb") as file:
                return file.read()

        credentials = grpc.ssl_channel_credentials(
            read("SKEIN_TLS_CA"), read("SKEIN_TLS_KEY"), read("SKEIN_TLS_CERTIFICATE"))
        channel = grpc.secure_channel(os.environ["SKEIN_SERVERS"].split(",")[0], credentials)
        self._topics = topics_pb2_grpc.TopicsStub(channel)
        self._producer = producer_pb2_grpc.ProducerStub(channel)
        self.consumer = consumer_pb2_grpc.ConsumerStub(channel)
        self._groups = groups_pb2_grpc.GroupsStub(channel)

    def create(self, topic, partitions):
        try:
            self._topics.Create(topics_pb2.CreateTopicRequest(name=topic, partitions=partitions), timeout=30)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise

    def partitions(self, topic):
        request = topics_pb2.DescribeTopicRequest(name=topic, summary_only=True)
        return self._topics.Describe(request, timeout=30).topic.partitions

    def ends(self, topic):
        """The end of each partition: the offset of its next record."""
        request = topics_pb2.ListOffsetsRequest(topic=topic, spec=topics_pb2.OFFSET_SPEC_LATEST)
        return {p.partition: p.offset for p in self._topics.ListOffsets(request, timeout=30).partitions}

    def publish(self, topic, records):
        """Returns when all are durable, with (partition, offset) of each. Keys of one call keep their order."""
        request = producer_pb2.PublishRequest(
            topic=topic, records=[records_pb2.Record(key=key, value=value) for key, value in records])
        results = self._producer.Publish(request, timeout=30).results
        for result in results:  # not atomic: each record has a result of its own
            if result.HasField("error"):
                raise RuntimeError(f"{topic}: {result.error.message}")
        return [(result.partition, result.offset) for result in results]

    def read(self, topic, positions):
        """Yields the records from `positions` to what is there now, partition by partition, in order."""
        for partition, end in sorted(self.ends(topic).items()):
            offset = positions.get(partition, 0)
            while offset < end:
                request = consumer_pb2.FetchRequest(decoded=True, max_wait_ms=1000, partitions=[
                    consumer_pb2.FetchPartition(topic=topic, partition=partition, offset=offset)])
                answer = self.consumer.Fetch(request, timeout=30).partitions[0]
                if answer.HasField("error"):
                    raise RuntimeError(f"{topic}/{partition}: {answer.error.message}")
                for record in answer.records:
                    if record.offset < end:
                        yield partition, record
                # Past what was returned, control batches included.
                offset = max(offset, answer.next_offset)

    def members(self, group):
        """A group's members that have partitions, and the epoch of what each has; a group begins with its first member."""
        try:
            members = self._groups.Describe(groups_pb2.DescribeGroupRequest(group=group), timeout=30).members
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return set()
        return {f"{member.member_id}:{member.epoch}" for member in members if member.assigned}


def event_of(value):
    return json.loads(value)["event"]
