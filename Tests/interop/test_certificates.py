"""Certificates that change under a running skeind: SIGHUP, changed files, SNI, revocation."""

import os
import signal
import socket
import ssl
import subprocess
import threading
import time

import grpc
import pytest

import support
from support import TIMEOUT, Client


class Authority:
    """The authority of `skeind --dev`, driven by the openssl command."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "index").write_text("")
        (folder / "crlnumber").write_text("01\n")
        (folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ncrlnumber=crlnumber\ndefault_md=sha256\n"
            "default_crl_days=30\nunique_subject=no\n")

    def run(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self.folder)

    def issue(self, name, subject, names, usage):
        draft = f"{name}.new"
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", f"/CN={subject}", "-keyout", f"{draft}.key", "-out", f"{draft}.pem", "-CA", "ca.pem",
                 "-CAkey", "ca.key", "-addext", f"subjectAltName={names}", "-addext", f"extendedKeyUsage={usage}",
                 "-addext", "basicConstraints=critical,CA:FALSE")
        for suffix in ("key", "pem"):
            os.rename(self.folder / f"{draft}.{suffix}", self.folder / f"{name}.{suffix}")

    def revocations(self, *names):
        for name in names:
            self.run("ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-revoke", f"{name}.pem")
        self.run("ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-gencrl", "-out", "crl.new")
        os.rename(self.folder / "crl.new", self.folder / "crl.pem")


def served(broker, name="localhost", client="admin"):
    """The common name that the broker shows to a client that asks for `name`."""
    context = ssl.create_default_context(cafile=broker.dir / "tls/ca.pem")
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(broker.dir / f"tls/{client}.pem", broker.dir / f"tls/{client}.key")
    host, port = broker.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as plain:
        with context.wrap_socket(plain, server_hostname=name) as tls:
            return dict(pair[0] for pair in tls.getpeercert()["subject"])["commonName"]


def eventually(condition, what):
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(what)


@pytest.fixture(scope="module")
def rotating():
    with support.temporary_directory() as directory:
        first = support.Broker.start(os.environ["SKEIND"], directory)
        first.stop()
        tls = first.dir / "tls"
        authority = Authority(tls)
        authority.issue("second", "second", "DNS:second.example", "serverAuth")
        authority.issue("late", "late", "URI:skein:default/late", "clientAuth")
        authority.revocations()
        broker = support.Broker.start(
            os.environ["SKEIND"], directory, "--set", "tls.watch-ms=100",
            "--set", f"tls.additional-certificates={tls}/second.pem:{tls}/second.key",
            "--set", f"tls.revocations={tls}/crl.pem", "--set", "drain.ms=500")
        try:
            yield broker, authority
        finally:
            broker.stop()


needs_own = pytest.mark.skipif("SKEIND" not in os.environ, reason="starts a broker of its own")


@needs_own
def test_the_name_chooses_the_certificate(rotating):
    broker, _ = rotating
    assert served(broker) == "localhost"
    assert served(broker, "second.example") == "second"
    assert served(broker, "third.example") == "localhost"


@needs_own
def test_rotation_under_load_loses_nothing(api, rotating):
    """A publisher on one connection never notices; newcomers see the new certificate."""
    broker, authority = rotating
    with broker.channel() as channel:
        client = Client(api, channel)
        topic = client.create()
        done, results = threading.Event(), []

        def publish():
            while not done.is_set():
                results.append(client.publish(topic, [client.record(value=b"%d" % len(results))]).results[0].offset)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for number in range(3):
                eventually(lambda: len(results) > 20 * (number + 1), "it publishes")
                authority.issue("server", f"turn-{number}", "DNS:localhost,IP:127.0.0.1", "serverAuth")
                if number == 1:
                    os.kill(broker.process.pid, signal.SIGHUP)
                eventually(lambda: served(broker) == f"turn-{number}", "the new certificate is served")
        finally:
            done.set()
            thread.join()
        assert results == list(range(len(results)))
        assert [record.value for record in client.fetch_all(topic)] == [b"%d" % n for n in range(len(results))]
    assert "certificates reloaded" in broker.log()


@needs_own
def test_a_bad_file_leaves_the_old_certificate(rotating):
    broker, authority = rotating
    before, pem = served(broker), authority.folder / "server.pem"
    good = pem.read_bytes()
    size = len(broker.log())
    pem.write_bytes(good[:200])
    eventually(lambda: "certificates not reloaded" in broker.log()[size:], "the log says so")
    assert served(broker) == before
    pem.write_bytes(good)
    eventually(lambda: "certificates reloaded" in broker.log()[size:], "and that it is well again")


@needs_own
def test_a_revoked_client_is_cut_and_kept_out(api, rotating):
    broker, authority = rotating
    tls = broker.dir / "tls"
    late = broker.credentials(tls / "late.pem", tls / "late.key")
    with broker.channel(late) as channel, broker.channel() as other:
        client = Client(api, channel)
        topic = client.create()
        stream = support.Stream(client.producer.PublishStream)
        stream.send(api.producer.PublishStreamRequest(open=api.producer.PublishOpen()))
        assert stream.receive().HasField("opened")
        authority.revocations("late")
        # The stream hears a good-bye before its connection ends.
        assert stream.receive().HasField("go_away")
        stream.finish()
        with pytest.raises(grpc.RpcError) as failure:
            deadline = time.monotonic() + TIMEOUT
            while time.monotonic() < deadline:
                client.publish(topic, [client.record(value=b"x")])
                time.sleep(0.05)
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        assert Client(api, other).publish(topic, [client.record(value=b"y")]).results[0].offset >= 0
    assert "revoked" in broker.log()


@needs_own
def test_settings_that_cannot_work_stop_the_start(tmp_path):
    for flag, words in [("tls.additional-certificates=only-one", "certificate:key"),
                        ("tls.additional-certificates=/none.pem:/none.key", "/none.key"),
                        ("tls.revocations=/none.pem", "/none.pem"), ("tls.watch-ms=-1", "tls.watch-ms")]:
        result = subprocess.run(
            [os.environ["SKEIND"], "--dev", tmp_path / "dev", "--listen", "127.0.0.1:0", "--operations",
             "127.0.0.1:0", "--set", flag], capture_output=True, text=True, timeout=30)
        assert result.returncode != 0 and words in result.stderr, result.stderr
