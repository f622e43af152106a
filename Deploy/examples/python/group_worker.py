"""A worker of a group: workers share a topic's partitions; what one leaves undone, however it ends, another does.
group_worker.py TOPIC GROUP FILE [MAX]     until SIGTERM, or for MAX records; start as many as you like."""
import functools, itertools, json, queue, secrets, signal, sys, threading, time  # noqa: E401
import grpc
from bus import Bus
from skein.v1 import consumer_pb2 as api, records_pb2


def records(topic, group, over):
    member, epoch, places, busy = secrets.token_hex(16), 0, {}, False  # places: of what it has, the offset to do next
    position = functools.partial(records_pb2.PartitionOffset, topic=topic)

    def talk(requests):
        while busy or not (over.is_set() and requests.empty()):
            try:
                yield api.SubscribeRequest(**requests.get(timeout=1))
            except queue.Empty:  # whom one answer keeps at work for 5 minutes is a member no longer
                yield api.SubscribeRequest(heartbeat=api.MemberHeartbeat(
                    epoch=epoch, progress=api.PROGRESS_WORKING if busy else api.PROGRESS_IDLE))
        yield api.SubscribeRequest(leave=api.MemberLeave())
    while not over.is_set():
        held, requests = [position(partition=p, offset=o) for p, o in places.items()], queue.Queue()
        resume = api.SubscribeResume(epoch=epoch, positions=held) if epoch else None
        join = api.SubscribeJoin(group=group, topics=[topic], decoded=True, member_id=member, resume=resume)
        requests.put({"join": join, "credit": api.ReadCredit(messages=500, bytes=1 << 20)})
        try:
            for answer in Bus().consumer.Subscribe(talk(requests)):
                news, at, busy = answer.assignment, answer.read, True
                if answer.HasField("assignment"):  # comes in order: what came of `revoke` before it is done and committed
                    epoch, places = max(epoch, news.epoch), {p: places.get(p, -1) for t in news.partitions for p in t.partitions}
                    owned = api.MemberHeartbeat(epoch=epoch, has_owned=True, owned=news.partitions, progress=api.PROGRESS_IDLE)
                    requests.put({"reclaimed": api.MemberReclaimed(positions=news.reclaim), "heartbeat": owned})
                elif answer.HasField("read"):  # what is not begun when it is over, nobody has committed: another worker gets it
                    for record in itertools.takewhile(lambda _: not over.is_set(), answer.records.records):
                        yield at.partition, record
                        places[at.partition] = record.offset + 1
                    done = position(partition=at.partition, offset=max(places[at.partition], at.from_offset))
                    requests.put({"commit": api.MemberCommit(id=time.monotonic_ns(), offsets=[done])})
                    requests.put({"heartbeat": api.MemberHeartbeat(epoch=epoch, progress=api.PROGRESS_IDLE)})
                    requests.put({"credit": api.ReadCredit(messages=at.total_messages + 500, bytes=at.total_bytes + (1 << 20))})
                elif answer.HasField("error"):
                    raise RuntimeError(answer.error.error.message)
                busy = False
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED):  # others have its partitions
                member, epoch, places = secrets.token_hex(16), 0, {}
            elif error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            time.sleep(0.5)  # then it comes again, and keeps what it has


topic, group, path, *most = sys.argv[1:]
over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
for count, (partition, record) in enumerate(records(topic, group, over), 1):
    with open(path, "a") as file:
        file.write(json.dumps([partition, record.offset, record.key.decode(), record.value.decode()]) + "\n")
    if most and count == int(most[0]):
        over.set()
