"""A member of a consumer group that a test drives step by step."""

import itertools
import time

import grpc
from grpc_status import rpc_status

from support import Stream, explain

_names = itertools.count(1)


def fresh_group():
    return f"interop-{time.time_ns():x}-{next(_names)}"


def flat(lists):
    """TopicPartitions as a set of (topic, partition)."""
    return {(each.topic, partition) for each in lists for partition in each.partitions}


def ending(stream):
    """The code and the reason with which a stream ends; what comes before is dropped."""
    try:
        for _ in stream.call:
            pass
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        assert status is not None, f"no details: {error.code()} {error.details()}"
        return error.code(), explain(stream.api, status).info
    return grpc.StatusCode.OK, None


class Member(Stream):
    """Joins, and keeps what comes by kind until it is asked for."""

    def __init__(self, client, group, topics, messages=1000, size=1 << 20, waits=True, **join):
        super().__init__(client.consumer.Subscribe, timeout=60)
        self.client, self.api, self.consumer = client, client.api, client.api.consumer
        self.group, self.epoch, self.owned = group, 0, set()
        self.waiting = {kind: [] for kind in (
            "joined", "assignment", "read", "error", "committed", "heartbeat", "go_away")}
        self._commits, self.position = 0, {}
        join.setdefault("decoded", True)
        self.say(join=self.consumer.SubscribeJoin(group=group, topics=topics, **join),
                 credit=self.consumer.ReadCredit(messages=messages, bytes=size))
        if waits:
            self.joined = self.next("joined").joined

    def say(self, **fields):
        self.send(self.consumer.SubscribeRequest(**fields))

    def next(self, kind):
        """The oldest message of a kind."""
        while not self.waiting[kind]:
            message = self.receive()
            found = [name for name in self.waiting if message.HasField(name)]
            assert found, message
            self.waiting[found[0]].append(message)
        return self.waiting[kind].pop(0)

    def assigned(self, wanted=None):
        """Takes assignments, giving back what is asked for, until it has `wanted` partitions; returns the last."""
        while True:
            news = self.next("assignment").assignment
            self.epoch = max(self.epoch, news.epoch)
            self.owned = flat(news.partitions)
            if news.revoke:
                self.give_back(news)
            if wanted is None or len(self.owned) == wanted:
                return news

    def give_back(self, news):
        self.say(reclaimed=self.consumer.MemberReclaimed(positions=news.reclaim),
                 heartbeat=self.consumer.MemberHeartbeat(epoch=self.epoch, has_owned=True, owned=news.partitions))

    def beat(self, **fields):
        self.say(heartbeat=self.consumer.MemberHeartbeat(epoch=self.epoch, **fields))

    def records(self, count):
        """So many records, as (partition, offset, value), in the order in which they came."""
        got = []
        while len(got) < count:
            message = self.next("read")
            at = message.read
            for record in message.records.records:
                assert record.offset >= at.from_offset
                got.append((at.partition, record.offset, record.value))
            self.position[at.topic, at.partition] = at.next_offset
            self.totals = at.total_messages, at.total_bytes
        return got

    def commit_later(self, *offsets):
        """`offsets`: (topic, partition, offset). Returns the id."""
        self._commits += 1
        self.say(commit=self.consumer.MemberCommit(id=self._commits, offsets=[
            self.api.records.PartitionOffset(topic=t, partition=p, offset=o) for t, p, o in offsets]))
        return self._commits

    def commit(self, *offsets):
        """The reason of each offset's refusal, None where it was committed."""
        wanted = self.commit_later(*offsets)
        while True:
            answer = self.next("committed").committed
            if answer.id == wanted:
                break
        if not answer.results:
            return [None] * len(offsets)
        assert len(answer.results) == len(offsets)
        return [explain(self.api, r.error).info if r.error.code else None for r in answer.results]

    def ack(self, topic, partition, first, last=0):
        self.say(ack=self.consumer.MemberAck(ranges=[
            self.consumer.AckedRange(topic=topic, partition=partition, first=first, last=last)]))

    def leave(self, **fields):
        self.say(leave=self.consumer.MemberLeave(**fields))
        rest, code = self.finish()
        assert code == grpc.StatusCode.OK, code
        return rest

    def ending(self):
        return ending(self)
