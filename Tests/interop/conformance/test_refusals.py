"""What a broker answers to requests that are malformed before any method has looked at them: status and reason."""

import base64
import gzip
import ssl

import pytest
from google.rpc import status_pb2

import support
from raw_http2 import Client, head, message

METHOD = "/skein.v1.Cluster/Describe"
LIMIT = 16 << 20


@pytest.fixture
def broker_client(broker):
    context = ssl.create_default_context(cafile=broker.dir / "tls" / "ca.pem")
    context.load_cert_chain(broker.dir / "tls" / "admin.pem", broker.dir / "tls" / "admin.key")
    context.set_alpn_protocols(["h2"])
    _, port = broker.address.rsplit(":", 1)
    with Client("localhost", int(port), context) as client:
        yield client


def refused(code, reason, *sent):
    """A parameter: (what is sent, headers, body)."""
    what, headers, body = sent
    return pytest.param(headers, body, code, reason, id=what,
                        marks=pytest.mark.row(what, f"HTTP 200, {code}", f"`{reason}`"))


def headers(**changes):
    return head(METHOD, **changes)


EMPTY = message()


@pytest.mark.parametrize("sent, body, code, reason", [
    refused("INVALID_ARGUMENT", "INVALID_REQUEST", "`grpc-timeout` without unit: `5`", headers(grpc_timeout="5"), EMPTY),
    refused("INVALID_ARGUMENT", "INVALID_REQUEST", "`grpc-timeout` without number: `S`",
            headers(grpc_timeout="S"), EMPTY),
    refused("INVALID_ARGUMENT", "INVALID_REQUEST", "`grpc-timeout` of 9 digits", headers(grpc_timeout="123456789S"), EMPTY),
    refused("INVALID_ARGUMENT", "INVALID_REQUEST", "`grpc-timeout` below zero", headers(grpc_timeout="-5S"), EMPTY),
    refused("INVALID_ARGUMENT", "INVALID_REQUEST", "`grpc-timeout` of an unknown unit", headers(grpc_timeout="5x"), EMPTY),
    refused("INVALID_ARGUMENT", "INVALID_REQUEST", "`grpc-timeout` empty", headers(grpc_timeout=""), EMPTY),
    refused("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "`grpc-timeout` of `0n`", headers(grpc_timeout="0n"), None),
    refused("INVALID_ARGUMENT", "INVALID_REQUEST", "`-bin` metadata that is not base64",
            headers(add=[("x-some-bin", "a$b!")]), EMPTY),
    refused("INVALID_ARGUMENT", "INVALID_REQUEST", "`-bin` metadata with wrong padding",
            headers(add=[("x-some-bin", "q80==")]), EMPTY),
    refused("UNIMPLEMENTED", "ENCODING_UNSUPPORTED", "`grpc-encoding` other than identity and gzip",
            headers(grpc_encoding="br"), EMPTY),
    refused("INTERNAL", "FRAMING_INVALID", "Compressed-Flag without `grpc-encoding`", headers(), message(b"", flag=1)),
    refused("INTERNAL", "FRAMING_INVALID", "Compressed-Flag neither 0 nor 1", headers(), message(b"", flag=2)),
    refused("INTERNAL", "FRAMING_INVALID", "a compressed message that is not gzip",
            headers(grpc_encoding="gzip"), message(b"hello", flag=1)),
    refused("INTERNAL", "FRAMING_INVALID", "a compressed message that is cut short",
            headers(grpc_encoding="gzip"), message(gzip.compress(b"hello")[:-2], flag=1)),
    refused("INTERNAL", "FRAMING_INVALID", "a request that ends inside a message", headers(), b"\0\0\0\0\5abc"),
    refused("INTERNAL", "FRAMING_INVALID", "a request that ends inside the five bytes before a message",
            headers(), b"\0\0"),
    refused("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE", "a message over the limit, before its bytes have come",
            headers(), b"\0\xff\xff\xff\xff"),
    refused("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE", "a compressed message that inflates to more than the limit",
            headers(grpc_encoding="gzip"), message(gzip.compress(bytes(LIMIT + 1)), flag=1)),
    refused("INVALID_ARGUMENT", "MALFORMED_MESSAGE", "a message that is not protobuf", headers(), message(b"\xff\xff")),
    refused("INVALID_ARGUMENT", "MALFORMED_MESSAGE", "text that is not UTF-8",
            head("/skein.v1.Topics/Describe"), message(b"\x0a\x02\xff\xfe")),
    refused("INVALID_ARGUMENT", "MALFORMED_MESSAGE", "a unary call without a message", headers(), b""),
    refused("INVALID_ARGUMENT", "MALFORMED_MESSAGE", "a unary call with two messages", headers(), EMPTY + EMPTY),
    refused("UNIMPLEMENTED", "METHOD_UNKNOWN", "`:path` of an unknown method", head("/skein.v1.Cluster/Explode"), EMPTY),
    refused("UNIMPLEMENTED", "METHOD_UNKNOWN", "`:path` of an unknown service", head("/no.Such/Method"), EMPTY),
    refused("UNIMPLEMENTED", "METHOD_UNKNOWN", "`:path` with a query", head(METHOD + "?a=1"), EMPTY),
    refused("UNIMPLEMENTED", "METHOD_UNKNOWN", "`:path` in another case", head(METHOD.lower()), EMPTY),
    refused("UNIMPLEMENTED", "METHOD_UNKNOWN", "`:path` of `/`", head("/"), EMPTY),
    refused("UNIMPLEMENTED", "METHOD_UNKNOWN", "`:path` that is not UTF-8", head(b"/skein.v1.Cluster/\xff"), EMPTY),
    refused("UNIMPLEMENTED", "METHOD_UNKNOWN", "`:path` of 8,000 characters", head("/" + "x" * 8000), EMPTY),
])
def test_refused(api, broker_client, sent, body, code, reason):
    stream = broker_client.begin(sent)
    if body is not None:
        broker_client.send(stream, body, end=True)
    answer = broker_client.answer(stream)
    assert answer.http == "200" and answer.data == b"", answer
    details = answer.header("grpc-status-details-bin")
    assert details, answer
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    found = support.explain(api, status)
    names = {value: name for name, value in CODES.items()}
    assert (names[answer.status], status.code, found.info.reason) == (code, CODES[code], reason), answer
    if reason == "INVALID_REQUEST":
        assert set(found.violations) & {name for name, _ in sent}, "BadRequest names the header"
    assert status.message and len(status.message) < 3000
    # The connection goes on: nothing that one call does wrong costs the others.
    assert broker_client.call(headers()).status == 0


CODES = {"OK": 0, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "RESOURCE_EXHAUSTED": 8, "UNIMPLEMENTED": 12,
         "INTERNAL": 13}


@pytest.mark.parametrize("sent, status", [
    pytest.param(sent, status, id=what, marks=pytest.mark.row(what, f"HTTP {status}", "(no gRPC status)"))
    for what, sent, status in [
        ("`:method` other than POST, content-type of gRPC", headers(method="PUT"), "405"),
        ("`content-type` of a web page", headers(content_type="text/html"), "415"),
        ("`content-type` of gRPC-Web", headers(content_type="application/grpc-web"), "415"),
        ("no `content-type`", headers(without=["content-type"]), "415")]])
def test_refused_by_http(broker_client, sent, status):
    answer = broker_client.call(sent)
    assert (answer.http, answer.status) == (status, None), answer
    assert broker_client.call(headers()).status == 0


@pytest.mark.parametrize("sent", [
    pytest.param(sent, id=what, marks=pytest.mark.row(what, "RST_STREAM PROTOCOL_ERROR", "(no gRPC status)"))
    for what, sent in [
        ("a header that HTTP/2 forbids (`connection`)", headers(add=[("connection", "close")])),
        ("`te` other than trailers", headers(te="gzip")),
        ("`:path` missing", headers(without=[":path"])),
        ("a name in upper case", headers(add=[("X-Name", "1")])),
        ("a control character in a value", headers(add=[("x-text", "a\rb")]))]])
def test_reset(broker_client, sent):
    answer = broker_client.call(sent)
    assert answer.reset == 1, answer
    assert broker_client.call(headers()).status == 0


@pytest.mark.row("headers over 16 KiB", "GOAWAY ENHANCE_YOUR_CALM, the connection closes", "(no gRPC status)")
def test_headers_too_large(broker_client):
    answer = broker_client.call(headers(add=[(f"x-{n}", "y" * 1000) for n in range(20)]))
    assert answer.goaway == 11, answer
