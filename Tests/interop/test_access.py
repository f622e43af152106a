"""Who may talk to the broker, and bytes that no stub would send."""

import subprocess
import urllib.error
import urllib.request

import grpc
import pytest

from support import TIMEOUT, Client, refused


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """A CA that the broker does not know, and a client certificate of it with our own admin's name."""
    folder = tmp_path_factory.mktemp("strangers")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    run = lambda *a: subprocess.run(["openssl", *a], check=True, capture_output=True, cwd=folder)  # noqa: E731
    run("req", "-x509", *curve, "-subj", "/CN=Stranger CA", "-keyout", "ca.key", "-out", "ca.pem")
    run("req", "-x509", *curve, "-subj", "/CN=admin", "-keyout", "client.key", "-out", "client.pem",
        "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=URI:skein:default/admin",
        "-addext", "extendedKeyUsage=clientAuth")
    run("req", "-x509", *curve, "-subj", "/CN=admin", "-keyout", "self.key", "-out", "self.pem",
        "-addext", "subjectAltName=URI:skein:default/admin")
    return folder


def expect_unreachable(api, broker, credentials):
    with broker.channel(credentials) as channel:
        with refused(api, grpc.StatusCode.UNAVAILABLE):
            Client(api, channel).topics.List(api.topics.ListTopicsRequest(), timeout=TIMEOUT)


def test_no_certificate_is_refused(api, broker):
    expect_unreachable(api, broker, broker.credentials(certificate=None))


@pytest.mark.parametrize("name", ["client", "self"])
def test_untrusted_certificates_are_refused(api, broker, strangers, name):
    expect_unreachable(
        api, broker, broker.credentials(strangers / f"{name}.pem", strangers / f"{name}.key"))


def test_a_stranger_does_not_disturb_others(api, broker, client, strangers):
    topic = client.create()
    for _ in range(3):
        test_no_certificate_is_refused(api, broker)
    assert client.publish(topic, [client.record(value=b"x")]).results[0].offset == 0


def test_refused_handshakes_are_logged_with_the_reason(api, broker, strangers):
    if broker.process is None:
        pytest.skip("the log of a broker that was started elsewhere is not known")
    before = len(broker.log())
    test_no_certificate_is_refused(api, broker)
    test_untrusted_certificates_are_refused(api, broker, strangers, "client")
    added = broker.log()[before:]
    assert "no certificate" in added
    assert "not trusted" in added


def test_plaintext_gets_nothing(broker):
    with grpc.insecure_channel(broker.address) as channel:
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/skein.v1.Topics/List")(b"", timeout=5)
    assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def field(number, content):
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize("body, words", [
    (field(1, b"\xff\xfe"), "UTF-8"),
    (field(1, b"ord\x00xy"), "NUL"),
    (b"\x08\x05", "wire type"),
    (b"\x0a\x50abc", "truncated"),
    (field(1, b"t") + field(2, field(3, field(1, b"\xc0\x80"))), "UTF-8"),
    (b"\xff" * 40, "not protobuf"),
], ids=["invalid UTF-8", "NUL", "wire type", "truncated", "nested UTF-8", "noise"])
def test_malformed_messages_are_explained(api, broker, body, words):
    with broker.channel() as channel:
        publish = channel.unary_unary("/skein.v1.Producer/Publish")
        for _ in range(3):
            with refused(api, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE") as refusal:
                publish(body, timeout=TIMEOUT)
            assert words in refusal.status.message
            assert refusal.info.metadata["outcome"] == "definite"


def test_bad_input_in_a_loop_costs_no_memory(api, broker, client):
    if broker.process is None:
        pytest.skip("the memory of a broker that was started elsewhere is not known")
    bodies = [field(1, b"\xff"), b"\x08\x05", b"\xff" * 40, field(2, b"") * 2000, field(1, b"no-such-topic")]
    with broker.channel() as channel:
        publish = channel.unary_unary("/skein.v1.Producer/Publish")

        def flood(rounds):
            for _ in range(rounds):
                calls = [publish.future(body, timeout=TIMEOUT) for body in bodies * 10]
                assert all(call.code() != grpc.StatusCode.OK for call in calls)

        flood(20)
        before = broker.resident_bytes()
        flood(40)
        grown = broker.resident_bytes() - before
    assert grown < 8 << 20, f"{grown} bytes more after 2,000 refused calls"


def test_operations_pages(broker, client):
    if broker.operations is None:
        pytest.skip("the operations address is not known for a broker that was started elsewhere")
    topic = client.create(partitions=2)
    client.publish(topic, [client.record(value=b"x", partition=1)])

    def get(path):
        result = subprocess.run(
            ["curl", "-sS", "-m", "10", "-w", "\n%{http_code}", f"http://{broker.operations}{path}"],
            check=True, capture_output=True, text=True)
        body, _, code = result.stdout.rpartition("\n")
        return int(code), body

    assert get("/healthz") == (200, "ok\n")
    assert get("/readyz")[0] == 200
    assert get("/nowhere")[0] == 404
    code, page = get("/metrics")
    assert code == 200
    samples = dict(line.rsplit(" ", 1) for line in page.splitlines() if line and line[0] != "#")
    assert float(samples["skein_records_in_total"]) >= 1
    watermark = [v for k, v in samples.items()
                 if k.startswith("skein_partition_high_watermark{") and f'topic="{topic}"' in k
                 and 'partition="1"' in k]
    assert watermark == ["1"]
    request = urllib.request.Request(f"http://{broker.operations}/healthz", method="POST", data=b"x")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=10)
    assert error.value.code == 405
