"""A worker of a group: workers share a topic's partitions; what one leaves undone, however it ends, another does.
group_worker.py TOPIC GROUP FILE [MAX]     until SIGTERM, or for MAX records; start as many as you like."""
import json
import queue
import signal
import sys
import threading

from bus import Bus
from skein.v1 import consumer_pb2 as api


class Member:
    def __init__(self, topic, group):
        self.requests, self.epoch, self.over, self.busy = queue.Queue(), 0, threading.Event(), threading.Lock()
        join = api.SubscribeJoin(group=group, topics=[topic], decoded=True)
        self.say(join=join, credit=api.ReadCredit(messages=500, bytes=1 << 20))
        self.answers = Bus().consumer.Subscribe(iter(self.requests.get, None))

    def say(self, **message):
        self.requests.put(api.SubscribeRequest(**message))

    def live(self, seconds):
        while not self.over.wait(seconds):
            self.say(heartbeat=api.MemberHeartbeat(epoch=self.epoch, progress=api.PROGRESS_ADVANCED))  # a hung one keeps all
        with self.busy:  # the record at hand is finished and acknowledged
            self.say(leave=api.MemberLeave())
            self.requests.put(None)

    def records(self):
        for answer in self.answers:
            if answer.HasField("joined"):
                threading.Thread(target=self.live, args=[answer.joined.heartbeat_ms / 1000]).start()
            elif answer.HasField("assignment"):
                news = answer.assignment  # it comes in order, so what is taken from us is finished: we give it back
                self.epoch = max(self.epoch, news.epoch)
                owned = api.MemberHeartbeat(epoch=self.epoch, has_owned=True, owned=news.partitions)
                self.say(reclaimed=api.MemberReclaimed(positions=news.reclaim), heartbeat=owned)
            elif answer.HasField("read"):
                at = answer.read
                for record in answer.records.records:
                    with self.busy:
                        if self.over.is_set():
                            break  # nobody has acknowledged it: another worker gets it
                        yield at.partition, record
                        done = {"topic": at.topic, "partition": at.partition, "first": record.offset}
                        self.say(ack=api.MemberAck(ranges=[done]))  # the broker commits up to here
                more = {"messages": at.total_messages + 500, "bytes": at.total_bytes + (1 << 20)}
                self.say(credit=api.ReadCredit(**more))


topic, group, path = sys.argv[1:4]
member, left = Member(topic, group), int(sys.argv[4]) if len(sys.argv) > 4 else sys.maxsize
signal.signal(signal.SIGTERM, lambda *_: member.over.set())
with open(path, "a", buffering=1) as file:
    for partition, record in member.records():
        file.write(json.dumps([partition, record.offset, record.key.decode(), record.value.decode()]) + "\n")
        if (left := left - 1) == 0:
            member.over.set()
