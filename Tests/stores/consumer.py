"""A consumer that keeps its offset in the transaction of its work, as Docs/offset-stores.md has it: stock grpcio, and libpq
by ctypes. Each record becomes a row of `invoices`.

    consumer.py ADDRESS TLS-FOLDER DATABASE TOPIC GROUP END [WHERE:OFFSET]

Ends when the record before END is done. WHERE: it is killed there, as by kill -9, at the record of that offset:
`work` (its row is inserted), `offset` (row and offset, not committed), `after` (committed). Or it stops there, until somebody
lets it go on: `stop` (its row is inserted); the broker gives it a second for a record.
"""

import ctypes
import os
import pathlib
import queue
import signal
import sys

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))
import stubs  # noqa: E402

stubs.generate()
records, api = stubs.load("skein/v1/records.proto"), stubs.load("skein/v1/consumer.proto")
rpc = stubs.load("skein/v1/consumer.proto", "_pb2_grpc")


class Database:
    """One connection; statements, one value back."""

    def __init__(self, conninfo):
        self.pq = ctypes.CDLL("libpq.so.5")
        for name in ("PQconnectdb", "PQexecParams"):
            getattr(self.pq, name).restype = ctypes.c_void_p
        for name in ("PQerrorMessage", "PQgetvalue", "PQresultErrorField"):
            getattr(self.pq, name).restype = ctypes.c_char_p
        self.link = ctypes.c_void_p(self.pq.PQconnectdb(conninfo.encode()))
        assert self.pq.PQstatus(self.link) == 0, self.pq.PQerrorMessage(self.link)

    def execute(self, sql, *values):
        array = (ctypes.c_char_p * max(len(values), 1))(*(str(value).encode() for value in values))
        result = ctypes.c_void_p(self.pq.PQexecParams(self.link, sql.encode(), len(values), None, array, None, None, 0))
        try:
            if self.pq.PQresultStatus(result) not in (1, 2):
                raise RuntimeError(f"{self.pq.PQresultErrorField(result, ord('C'))} {self.pq.PQerrorMessage(self.link).decode()}")
            if self.pq.PQntuples(result) == 0 or self.pq.PQgetisnull(result, 0, 0):
                return None
            return self.pq.PQgetvalue(result, 0, 0).decode()
        finally:
            self.pq.PQclear(result)


class Consumer:
    def __init__(self, database, topic, group, end, death):
        self.db, self.topic, self.group, self.end, self.death = database, topic, group, end, death
        self.requests, self.epoch, self.next, self.seeks, self.ids = queue.Queue(), 0, {}, {}, {}
        processing = 1000 if death.startswith("stop") else 0
        self.say(join=api.SubscribeJoin(group=group, topics=[topic], decoded=True, processing_ms=processing),
                 credit=api.ReadCredit(messages=10, bytes=1 << 20))

    def say(self, **message):
        self.requests.put(api.SubscribeRequest(**message))

    def assigned(self, news):
        self.epoch = max(self.epoch, news.epoch)
        for each in news.partitions:
            for partition in each.partitions:
                if partition in self.next:
                    continue
                self.ids[partition] = each.topic_id
                offset = self.db.execute(
                    "SELECT skein.skein_claim($1, $2, $3, $4, $5)", "default", self.group, each.topic_id, partition, self.epoch)
                self.next[partition], self.seeks[partition] = int(offset or 0), 1
                self.say(seek=api.MemberSeek(number=1, topic=self.topic, partition=partition, offset=self.next[partition]))
        self.say(heartbeat=api.MemberHeartbeat(epoch=self.epoch, has_owned=True, owned=news.partitions))

    def die(self, where, offset):
        if self.death == f"{where}:{offset}":
            os.kill(os.getpid(), signal.SIGSTOP if where == "stop" else signal.SIGKILL)

    def handle(self, partition, record):
        self.db.execute("BEGIN")
        self.db.execute("INSERT INTO invoices (record) VALUES ($1)", record.value.decode())
        self.die("work", record.offset)
        self.die("stop", record.offset)
        self.db.execute("SELECT skein.skein_commit($1, $2, $3, $4, $5, $6)", "default", self.group, self.ids[partition], partition,
                        record.offset + 1, self.epoch)
        self.die("offset", record.offset)
        self.db.execute("COMMIT")
        self.die("after", record.offset)

    def run(self, stub):
        for answer in stub.Subscribe(iter(self.requests.get, None), timeout=60):
            if answer.HasField("assignment"):
                self.assigned(answer.assignment)
            elif answer.HasField("read"):
                at = answer.read
                for record in answer.records.records:
                    if at.seek < self.seeks[at.partition] or record.offset < self.next[at.partition]:
                        continue  # on its way before the seek
                    self.handle(at.partition, record)
                    self.next[at.partition] = record.offset + 1
                if max(self.next.values()) >= self.end:
                    self.say(leave=api.MemberLeave())
                    self.requests.put(None)
                self.say(credit=api.ReadCredit(messages=at.total_messages + 10, bytes=at.total_bytes + (1 << 20)))


if __name__ == "__main__":
    address, tls, conninfo, topic, group, end = sys.argv[1:7]
    tls = pathlib.Path(tls)
    credentials = grpc.ssl_channel_credentials(*((tls / name).read_bytes() for name in ("ca.pem", "admin.key", "admin.pem")))
    consumer = Consumer(Database(conninfo), topic, group, int(end), sys.argv[7] if len(sys.argv) > 7 else "")
    consumer.run(rpc.ConsumerStub(grpc.secure_channel(address, credentials)))
