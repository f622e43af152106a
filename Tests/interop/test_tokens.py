"""Bearer tokens with stock gRPC and plain HTTP, judged by the real plug-in in its child process."""

import contextlib
import os
import signal
import ssl
import subprocess
import threading
import time
from pathlib import Path

import grpc
import pytest

import support
from support import TIMEOUT, Client

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "org.skein.tokens@1.0.0"


def beside(name):
    """A program that was built beside skeind."""
    path = Path(os.environ["SKEIND"]).resolve().parent / name
    assert path.exists(), f"{path} is missing: swift build --product {name}"
    return str(path)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The signed package, and the key that signed it."""
    if "SKEIND" not in os.environ:
        pytest.skip("needs a broker of its own: SKEIND")
    built = Path(os.environ.get("SKEIN_PLUGINS", ROOT / ".build/plugins"))
    if not (built / "token-authenticator/plugin.so").exists():
        subprocess.run([ROOT / "Plugins/build.sh", built, "token-authenticator"], check=True)
    folder = tmp_path_factory.mktemp("package")
    run = lambda *a: subprocess.run([beside("skein"), "plugin", *a], check=True, cwd=folder, capture_output=True)  # noqa: E731
    run("keygen", "author")
    run("pack", str(built / "token-authenticator"), "--key", "author.key", "--to", "tokens.skeinplug")
    return folder / "tokens.skeinplug", folder / "author.pem"


class World:
    def __init__(self, broker, tokens):
        self.broker, self.tokens = broker, tokens

    def skein(self, *arguments, code=0):
        done = subprocess.run(
            [beside("skein"), *arguments], capture_output=True, text=True, timeout=60,
            env={**os.environ, "SKEIN_CONTEXT": str(self.broker.dir / "context.yaml")})
        assert done.returncode == code, done.stderr
        return done.stdout.strip()

    def create(self, principal="orders"):
        return self.skein("token", "create", principal)

    @contextlib.contextmanager
    def channel(self, token=None):
        """Stock gRPC: a server-authenticated channel whose calls carry the token as call credentials."""
        credentials = self.broker.credentials(certificate=None)
        if token is not None:
            credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
        with grpc.secure_channel(self.tokens, credentials, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield channel


@pytest.fixture(scope="module")
def world(package):
    with support.temporary_directory() as directory:
        broker = support.Broker.start(
            os.environ["SKEIND"], directory, "--set", "token-listen=127.0.0.1:0", "--set", f"token-authenticator={PLUGIN}")
        try:
            world = World(broker, broker.words["tokens"])
            world.skein("plugin", "trust", "add", str(package[1]))
            world.skein("plugin", "install", str(package[0]))
            yield world
        finally:
            broker.stop()


def code(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def describe(api, channel, **options):
    return Client(api, channel).cluster.Describe(api.cluster.DescribeClusterRequest(), timeout=TIMEOUT, **options)


def soon(check, seconds=15):
    """Repeats until it holds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except (AssertionError, grpc.RpcError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_stock_grpc_publishes_with_a_token(api, world):
    token = world.create("publisher")
    with world.channel(token) as channel:
        client = Client(api, channel)
        assert soon(lambda: describe(api, channel)).principal == "publisher"
        topic = client.create()
        results = client.publish(topic, [client.record(value=b"%d" % n) for n in range(100)]).results
        assert [r.offset for r in results] == list(range(100))


def test_everything_else_is_refused(api, world):
    token = world.create("refused")
    with world.channel(token) as channel:
        soon(lambda: describe(api, channel))
    for wrong in (None, "x", token[:-1], token + "0", token.upper(), token[:-1] + ("1" if token[-1] == "0" else "0")):
        with world.channel(wrong) as channel:
            assert code(lambda: describe(api, channel)) == grpc.StatusCode.UNAUTHENTICATED, wrong
    with world.channel() as channel:
        for metadata in ([("authorization", f"Basic {token}")], [("authorization", f"Bearer {token}")] * 2,
                         [("authorization", token)], [("x-authorization", f"Bearer {token}")]):
            assert code(lambda: describe(api, channel, metadata=metadata)) == grpc.StatusCode.UNAUTHENTICATED, metadata
        assert describe(api, channel, metadata=[("authorization", f"Bearer {token}")]).principal == "refused"
    # The other listener still wants a certificate.
    with world.broker.channel(world.broker.credentials(certificate=None)) as channel:
        assert code(lambda: describe(api, channel)) == grpc.StatusCode.UNAVAILABLE


def test_the_json_door_takes_the_same_header(world):
    token = world.create("json")

    def ask(*headers):
        return subprocess.run(
            ["curl", "-sS", "--http2", "--cacert", str(world.broker.dir / "tls/ca.pem"), "-w", "%{http_code}",
             *[part for header in headers for part in ("-H", header)], f"https://{world.tokens}/v1/topics"],
            capture_output=True, text=True, timeout=TIMEOUT).stdout

    def accepted():
        assert ask(f"Authorization: Bearer {token}").endswith("200")

    soon(accepted)
    for refused in (ask(), ask("Authorization: Bearer x"), ask(f"Authorization: Basic {token}")):
        assert refused.endswith("401") and "TOKEN_INVALID" in refused, refused


def test_revocation_cuts_a_running_stream(api, world):
    token = world.create("streaming")
    with world.channel(token) as channel:
        client = Client(api, channel)
        soon(lambda: describe(api, channel))
        done = threading.Event()

        def requests():
            yield api.producer.PublishStreamRequest(open=api.producer.PublishOpen())
            done.wait(30)

        stream = client.producer.PublishStream(requests())
        assert next(stream).HasField("opened")
        begun = time.monotonic()
        world.skein("token", "revoke", token.split("_")[1])
        with pytest.raises(grpc.RpcError) as caught:
            for _ in stream:
                pass
        done.set()
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert time.monotonic() - begun < 5
        assert code(lambda: describe(api, channel)) == grpc.StatusCode.UNAUTHENTICATED


def test_two_live_tokens_rotate_without_an_error(api, world):
    old = world.create("rotating")
    with world.channel(old) as channel:
        soon(lambda: describe(api, channel))
        new = world.create("rotating")
        world.skein("token", "create", "rotating", code=1)
        with world.channel(new) as other:
            assert describe(api, channel).principal == describe(api, other).principal == "rotating"
            world.skein("token", "revoke", old.split("_")[1])
            assert describe(api, other).principal == "rotating"
            assert code(lambda: describe(api, channel)) == grpc.StatusCode.UNAUTHENTICATED


def children(broker):
    """The plug-in processes of this broker."""
    found = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(broker.process.pid)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "skein-plugin" in line]


def test_a_stopped_and_a_killed_child_let_nobody_in(api, world):
    token = world.create("crash")
    with world.channel(token) as channel:
        soon(lambda: describe(api, channel))
    pids = children(world.broker)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    with world.channel(token) as channel:
        assert code(lambda: describe(api, channel)) == grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - begun < 4, "refused by its own clock"
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # And it comes back by itself.
    with world.channel(token) as channel:
        assert soon(lambda: describe(api, channel), 30).principal == "crash"


def test_no_secret_is_written_anywhere(world):
    token = world.create("canary")
    secret = token.split("_")[2]
    assert secret[:32] not in world.broker.log()
    for path in Path(world.broker.dir).rglob("*"):
        if path.is_file() and path.stat().st_size < 64 << 20:
            assert secret[:32].encode() not in path.read_bytes(), path
