"""A broker to talk to, and short ways to say what the tests say often."""

import contextlib
import itertools
import queue
import subprocess
import tempfile
import time
from pathlib import Path

import grpc
from grpc_status import rpc_status

import stubs

MAX_MESSAGE = 16 << 20
TIMEOUT = 20
_names = itertools.count(1)


class API:
    """The generated modules, one attribute each."""

    def __init__(self):
        stubs.generate()
        self.records = stubs.load("skein/v1/records.proto")
        self.producer = stubs.load("skein/v1/producer.proto")
        self.consumer = stubs.load("skein/v1/consumer.proto")
        self.topics = stubs.load("skein/v1/topics.proto")
        self.cluster = stubs.load("skein/v1/cluster.proto")
        self.plugins = stubs.load("skein/v1/plugins.proto")
        self.groups = stubs.load("skein/v1/groups.proto")
        self.health = stubs.load("grpc/health/v1/health.proto")
        self.details = stubs.load("google/rpc/error_details.proto")
        self.grpc = {
            name: stubs.load(f"skein/v1/{name}.proto", "_pb2_grpc")
            for name in ("producer", "consumer", "topics", "cluster", "plugins", "groups")
        }


class Broker:
    """A running `skeind --dev`."""

    def __init__(self, address, directory, operations=None, process=None):
        self.address, self.dir, self.operations = address, Path(directory), operations
        self.process = process
        # The addresses of the ready line by their names.
        self.words = {}

    @classmethod
    def start(cls, binary, directory, *flags):
        log = open(Path(directory) / "skeind.log", "wb")
        process = subprocess.Popen(
            [binary, "--dev", str(Path(directory) / "dev"), "--listen", "127.0.0.1:0",
             "--operations", "127.0.0.1:0", *flags], stdout=subprocess.PIPE, stderr=log, text=True)
        deadline = time.monotonic() + 30
        for line in process.stdout:
            if line.startswith("skeind ready"):
                words = dict(word.split("=", 1) for word in line.split() if "=" in word)
                broker = cls(words["grpc"], Path(directory) / "dev", words["operations"], process)
                broker.words = words
                return broker
            if time.monotonic() > deadline:
                break
        process.kill()
        raise RuntimeError(f"skeind did not become ready; see {directory}/skeind.log")

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def obituary(self):
        """What the broker said last, if it has died; None while it lives."""
        if self.process is None or self.process.poll() is None:
            return None
        last = "\n".join(self.log().splitlines()[-80:])
        return f"skeind died with {self.process.returncode}:\n{last}"

    def log(self):
        return (self.dir.parent / "skeind.log").read_text(errors="replace")

    def resident_bytes(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def credentials(self, certificate="admin", key=None):
        """`certificate` None: without one. Paths: another certificate and key."""
        tls = self.dir / "tls"
        if certificate == "admin":
            certificate, key = tls / "admin.pem", tls / "admin.key"
        return grpc.ssl_channel_credentials(
            (tls / "ca.pem").read_bytes(),
            Path(key).read_bytes() if key else None,
            Path(certificate).read_bytes() if certificate else None)

    def channel(self, credentials=None, options=()):
        standard = [("grpc.max_receive_message_length", MAX_MESSAGE + 4096),
                    ("grpc.max_send_message_length", 64 << 20),
                    ("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(
            self.address, credentials or self.credentials(), options=standard + list(options))


class Client:
    """Stubs of every service over one channel."""

    def __init__(self, api, channel):
        self.api, self.channel = api, channel
        self.producer = api.grpc["producer"].ProducerStub(channel)
        self.consumer = api.grpc["consumer"].ConsumerStub(channel)
        self.topics = api.grpc["topics"].TopicsStub(channel)
        self.cluster = api.grpc["cluster"].ClusterStub(channel)
        self.plugins = api.grpc["plugins"].PluginsStub(channel)
        self.groups = api.grpc["groups"].GroupsStub(channel)

    def create(self, partitions=1, name=None, **fields):
        name = name or f"interop-{time.time_ns():x}-{next(_names)}"
        self.topics.Create(
            self.api.topics.CreateTopicRequest(name=name, partitions=partitions, **fields),
            timeout=TIMEOUT)
        return name

    def publish(self, topic, records, timeout=TIMEOUT):
        return self.producer.Publish(
            self.api.producer.PublishRequest(topic=topic, records=records), timeout=timeout)

    def record(self, **fields):
        return self.api.records.Record(**fields)

    def fetch(self, topic, partition=0, offset=0, decoded=True, timeout=TIMEOUT, **fields):
        """The PartitionRecords of one Fetch of one partition."""
        wanted = self.api.consumer.FetchPartition(topic=topic, partition=partition, offset=offset)
        response = self.consumer.Fetch(
            self.api.consumer.FetchRequest(partitions=[wanted], decoded=decoded, **fields),
            timeout=timeout)
        assert len(response.partitions) == 1
        assert response.partitions[0].topic == topic
        assert response.partitions[0].partition == partition
        return response.partitions[0]

    def fetch_all(self, topic, partition=0, decoded=True, **fields):
        """Everything from the beginning to the high watermark: records, or the bytes of batches."""
        out, offset = ([] if decoded else b""), 0
        while True:
            part = self.fetch(topic, partition, offset, decoded, **fields)
            assert not part.HasField("error"), part.error
            out += list(part.records) if decoded else part.batches
            assert part.next_offset > offset or part.next_offset == part.high_watermark
            offset = part.next_offset
            if offset >= part.high_watermark:
                return out


class Stream:
    """A bidirectional call that a test drives step by step."""

    _END = object()

    def __init__(self, method, timeout=TIMEOUT):
        self._outgoing = queue.Queue()
        self.call = method(iter(self._outgoing.get, self._END), timeout=timeout)

    def send(self, message):
        self._outgoing.put(message)

    def half_close(self):
        self._outgoing.put(self._END)

    def receive(self):
        return next(self.call)

    def finish(self):
        """Half-closes, drains, and returns what was still sent, with the final code."""
        self.half_close()
        rest = []
        try:
            for message in self.call:
                rest.append(message)
        except grpc.RpcError:
            pass
        return rest, self.call.code()

    def cancel(self):
        self.call.cancel()
        self.half_close()


@contextlib.contextmanager
def refused(api, code, reason=None):
    """Expects an RpcError; yields an object that then holds `status`, `info`, `violations`."""

    class Refusal:
        pass

    refusal = Refusal()
    try:
        yield refusal
    except grpc.RpcError as error:
        refusal.error = error
        assert error.code() == code, f"{error.code()}: {error.details()}"
        status = rpc_status.from_call(error)
        if reason is not None:
            assert status is not None, "no grpc-status-details-bin"
            assert status.message == error.details()
            explain(api, status, refusal)
            assert refusal.info.reason == reason, refusal.info
        return
    raise AssertionError(f"expected {code}, but the call succeeded")


def explain(api, status, into=None):
    """Unpacks the details of a google.rpc.Status."""

    class Explanation:
        pass

    out = into if into is not None else Explanation()
    out.status, out.info, out.violations, out.retry = status, None, {}, None
    for detail in status.details:
        if detail.Is(api.details.ErrorInfo.DESCRIPTOR):
            out.info = api.details.ErrorInfo()
            detail.Unpack(out.info)
        elif detail.Is(api.details.BadRequest.DESCRIPTOR):
            request = api.details.BadRequest()
            detail.Unpack(request)
            for violation in request.field_violations:
                out.violations[violation.field] = violation.description
        elif detail.Is(api.details.RetryInfo.DESCRIPTOR):
            out.retry = api.details.RetryInfo()
            detail.Unpack(out.retry)
    assert out.info is not None, f"no ErrorInfo in {status}"
    assert out.info.domain == "skein"
    assert out.info.metadata["outcome"] in ("definite", "unknown")
    assert out.info.metadata["retriable"] in ("true", "false")
    return out


def temporary_directory():
    return tempfile.TemporaryDirectory(prefix="skein-interop-")
