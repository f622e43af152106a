"""What our server makes of requests, from a client that can send anything (package h2)."""

import base64
import gzip
import zlib

import grpc
import pytest

from h2.settings import SettingCodes

from raw_http2 import Answer, Client, head, message

HTTP2 = "gRPC over HTTP/2, "
RAW = "raw client → our server"
PROTOCOL_ERROR, ENHANCE_YOUR_CALM = 1, 11
OK, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED = 0, 2, 3, 4
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 8, 12, 13


def row(behaviour, section, source=HTTP2):
    return pytest.mark.row(behaviour, source + section, RAW)


def cases(section, behaviour, *values, source=HTTP2):
    """Parameters (sent, …) with the id and row made of what is sent."""
    return [pytest.param(*value[1:], id=value[0], marks=row(behaviour.format(value[0]), section, source))
            for value in values]


def served(answer):
    return answer.http == "200" and answer.status == OK and answer.data == message()


# Responses


@row("an answer: `:status` 200 and content-type in the headers, the message, `grpc-status` in the trailers",
     "Responses")
def test_shape_of_an_answer(raw):
    answer = raw.call()
    assert answer.headers[":status"] == "200" and answer.headers["content-type"].startswith("application/grpc")
    assert "grpc-status" not in answer.headers and answer.trailers["grpc-status"] == "0"
    assert answer.data == message() and answer.ended


@row("an error before any message: headers that are trailers too (Trailers-Only)", "Responses")
def test_trailers_only(raw):
    answer = raw.call(head("/no.Such/Method"))
    assert answer.headers[":status"] == "200" and answer.headers["content-type"].startswith("application/grpc")
    assert answer.headers["grpc-status"] == str(UNIMPLEMENTED) and answer.trailers is None


@row("`grpc-message` travels percent-encoded: printable ASCII as it is, `%` and all else as %XX of UTF-8",
     "Responses: Status-Message")
def test_message_on_the_wire(raw, messages):
    status = messages.EchoStatus(code=2, message="50% ok\tä😈 ~")
    request = messages.SimpleRequest(response_status=status).SerializeToString()
    answer = raw.call(head("/grpc.testing.TestService/UnaryCall"), message(request))
    assert answer.header("grpc-message") == "50%25 ok%09%C3%A4%F0%9F%98%88 ~"


@row("`-bin` metadata is sent as base64 without padding", "Responses: Custom-Metadata")
def test_binary_metadata_on_the_wire(raw):
    answer = raw.call(head(add=[("x-grpc-test-echo-trailing-bin", "/w==")]))
    assert answer.header("x-grpc-test-echo-trailing-bin") == "/w"


@row("an answer that is complete before its request is: the rest is refused with RST_STREAM NO_ERROR",
     "Responses (RFC 9113, 8.1)", source="")
def test_early_answer(raw):
    stream = raw.begin(head("/no.Such/Method"))
    answer = raw.answer(stream)
    assert answer.status == UNIMPLEMENTED
    assert raw.call().status == OK


# grpc-timeout


@pytest.mark.parametrize("text, milliseconds", cases(
    "Requests: Timeout", "grpc-timeout `{}` is taken", *[(text, text, ms) for text, ms in [
        ("2H", 7_200_000), ("3M", 180_000), ("30S", 30_000), ("20000m", 20_000), ("30000000u", 30_000),
        ("99999999n", 99.999), ("00000030S", 30_000), ("99999999H", 31_536_000_000)]]))
def test_timeout(raw, text, milliseconds):
    answer = raw.call(head(grpc_timeout=text, add=[("x-skein-echo-deadline", "1")]))
    if answer.status == DEADLINE_EXCEEDED and milliseconds < 1000:
        return  # a slow machine: it was taken for what it says
    left = int(answer.header("x-skein-deadline-ms"))
    assert milliseconds * 0.99 - 2000 <= left <= milliseconds


@row("no grpc-timeout: no deadline", "Requests: Timeout")
def test_no_timeout(raw):
    assert raw.call(head(add=[("x-skein-echo-deadline", "1")])).header("x-skein-deadline-ms") == "none"


@row("a grpc-timeout that is over at once, `0n`: DEADLINE_EXCEEDED", "Requests: Timeout")
def test_timeout_of_zero(raw, messages):
    stream = raw.begin(head("/grpc.testing.TestService/FullDuplexCall", grpc_timeout="0n"))
    assert raw.answer(stream).status == DEADLINE_EXCEEDED


@pytest.mark.parametrize("text", cases(
    "Requests: Timeout", "grpc-timeout `{}`: INVALID_ARGUMENT", *[(name, text) for name, text in [
        ("(empty)", ""), ("5", "5"), ("S", "S"), ("5x", "5x"), ("5s", "5s"), ("-5S", "-5S"), ("+5S", "+5S"),
        ("1.5S", "1.5S"), ("5 S", "5 S"), ("9 digits", "123456789S"), ("soon", "soon"),
        ("Arabic digit", "٥S".encode())]]))
def test_malformed_timeout(raw, text):
    answer = raw.call(head(grpc_timeout=text))
    assert (answer.http, answer.status) == ("200", INVALID_ARGUMENT)
    assert "grpc-timeout" in answer.header("grpc-message")


# :method, content-type, te and the rest of the head


@pytest.mark.parametrize("method", cases(
    "Requests: Method", "`:method` {}: HTTP 405", *[(m, m) for m in ("GET", "PUT", "DELETE", "post", "PATCH")]))
def test_method(raw, method):
    answer = raw.call(head(method=method))
    assert (answer.http, answer.status, answer.headers["allow"]) == ("405", None, "POST")


@pytest.mark.parametrize("text", cases(
    "Requests: Content-Type", "content-type `{}` is taken", *[(t, t) for t in (
        "application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8", "Application/gRPC+Proto")]))
def test_content_type(raw, text):
    assert served(raw.call(head(content_type=text)))


@pytest.mark.parametrize("text", cases(
    "Requests: Content-Type", "content-type `{}`: HTTP 415", *[(t, t) for t in (
        "text/html", "application/json", "application/grpcx", "application/grpc-web", "")]))
def test_wrong_content_type(raw, text):
    answer = raw.call(head(content_type=text))
    assert (answer.http, answer.status) == ("415", None)


@row("no content-type: HTTP 415", "Requests: Content-Type")
def test_missing_content_type(raw):
    assert raw.call(head(without=["content-type"])).http == "415"


@row("no `te`: served (it only serves to detect proxies)", "Requests: TE")
def test_missing_te(raw):
    assert served(raw.call(head(without=["te"])))


@pytest.mark.parametrize("path", cases(
    "Requests: Path", "`:path` {}: UNIMPLEMENTED", *[(name, path) for name, path in [
        ("/", "/"), ("//", "//"), ("of one part", "/EmptyCall"),
        ("with a query", "/grpc.testing.TestService/EmptyCall?x=1"),
        ("in another case", "/grpc.testing.testservice/emptycall"),
        ("percent-encoded", "/grpc.testing.TestService/Empty%43all"),
        ("with a slash at its end", "/grpc.testing.TestService/EmptyCall/"),
        ("not UTF-8", b"/grpc.testing.TestService/\xff\xfe"),
        ("of 8,000 characters", "/" + "x" * 8000)]]))
def test_unknown_path(raw, path):
    answer = raw.call(head(path))
    assert (answer.http, answer.status) == ("200", UNIMPLEMENTED)
    assert raw.call().status == OK


MALFORMED = [
    ("`:path` missing", head(without=[":path"])),
    ("`:path` empty", head("")),
    ("`:path` without its slash", head("grpc.testing.TestService/EmptyCall")),
    ("`:method` missing", head(without=[":method"])),
    ("`:scheme` missing", head(without=[":scheme"])),
    ("`:authority` missing", head(without=[":authority"])),
    ("`:path` twice", [(":path", "/a/b")] + head()),
    ("an unknown pseudo header", [(":color", "red")] + head()),
    ("`:status` in a request", [(":status", "200")] + head()),
    ("a pseudo header after the others", head(without=[":path"]) + [(":path", "/a/b")]),
    ("an upper-case name", head(add=[("X-Case", "1")])),
    ("a name with a space", head(add=[("x y", "1")])),
    ("an empty name", head(add=[("", "1")])),
    ("`connection`", head(add=[("connection", "close")])),
    ("`te` other than trailers", head(te="gzip")),
    ("a line feed in a value", head(add=[("x-text", "a\nb")])),
    ("a NUL in a value", head(add=[("x-text", "a\0b")])),
    ("a value that ends in a space", head(add=[("x-text", "a ")])),
    ("content-length not a number", head(add=[("content-length", "many")])),
    ("content-length that the body exceeds", head(add=[("content-length", "3")])),
    ("content-length that the body falls short of", head(add=[("content-length", "30")])),
]


@pytest.mark.parametrize("headers", cases(
    "8.1.1, 8.2 and 8.3", "{}: RST_STREAM PROTOCOL_ERROR, and the connection goes on", *MALFORMED,
    source="RFC 9113, "))
def test_malformed_http2_request(raw, headers):
    answer = raw.call(headers)
    assert answer.reset == PROTOCOL_ERROR, answer
    assert answer.headers is None and raw.call().status == OK


@row("a header list over the announced limit: the connection is closed with ENHANCE_YOUR_CALM",
     "10.5.1 and 6.5.2 (our limit)", source="RFC 9113, ")
def test_header_list_too_large(raw):
    answer = raw.call(head(add=[(f"x-{n}", "y" * 1000) for n in range(20)]))
    assert answer.goaway == ENHANCE_YOUR_CALM and answer.headers is None


@row("metadata just below the limit is taken", "6.5.2 (our limit)", source="RFC 9113, ")
def test_header_list_of_the_largest_size(raw):
    assert served(raw.call(head(add=[(f"x-{n}", "y" * 1000) for n in range(15)])))


# Metadata


@pytest.mark.parametrize("sent, expected", cases(
    "Custom-Metadata", "`-bin` value {}", *[(name, sent, expected) for name, sent, expected in [
        ("without padding", "q80", b"\xab\xcd"), ("with padding", "q80=", b"\xab\xcd"),
        ("empty", "", b""), ("two joined by a comma", "q80,q80=", b"\xab\xcd"),
        ("two joined by comma and space", "q80, q80", b"\xab\xcd")]]))
def test_binary_metadata(raw, sent, expected):
    answer = raw.call(head(add=[("x-grpc-test-echo-trailing-bin", sent)]))
    value = answer.header("x-grpc-test-echo-trailing-bin")
    assert base64.b64decode(value + "=" * (-len(value) % 4)) == expected


@pytest.mark.parametrize("sent", cases(
    "Custom-Metadata", "`-bin` value {}: INVALID_ARGUMENT", *[(name, sent) for name, sent in [
        ("that is not base64", "a$b!"), ("of an impossible length", "q80aB"), ("padded wrongly", "q80=="),
        ("with padding inside", "q8==q80"), ("in the URL alphabet", "_-_-")]]))
def test_malformed_binary_metadata(raw, sent):
    answer = raw.call(head(add=[("x-grpc-test-echo-trailing-bin", sent)]))
    assert (answer.http, answer.status) == ("200", INVALID_ARGUMENT), answer
    assert "x-grpc-test-echo-trailing-bin" in answer.header("grpc-message")


@row("names that begin with `grpc-` are not custom metadata: ignored", "Custom-Metadata")
def test_reserved_names(raw):
    assert served(raw.call(head(add=[("grpc-something-new", "1"), ("grpc-trace-bin", "AA")])))


# Messages


@row("a request that ends inside a message: INTERNAL", "Requests: Length-Prefixed-Message")
def test_truncated_message(raw):
    assert raw.call(head(), message(b"12345")[:-2]).status == INTERNAL


@row("a request that ends inside the five bytes before a message: INTERNAL", "Requests: Length-Prefixed-Message")
def test_truncated_prefix(raw):
    assert raw.call(head(), b"\0\0\0").status == INTERNAL


@row("a Compressed-Flag other than 0 and 1: INTERNAL", "Requests: Compressed-Flag")
def test_unknown_flag(raw):
    answer = raw.call(head(), message(b"", flag=2))
    assert (answer.http, answer.status) == ("200", INTERNAL)


@row("a length over the limit: RESOURCE_EXHAUSTED before the message has come", "Message-Length (our limit)")
def test_length_over_the_limit(raw):
    stream = raw.begin(head())
    raw.send(stream, b"\0\xff\xff\xff\xff")
    answer = raw.answer(stream)
    assert answer.status == RESOURCE_EXHAUSTED and str(4 << 20) in answer.header("grpc-message")


@row("messages cut anywhere by DATA frames, one byte a frame", "Requests: Length-Prefixed-Message")
def test_message_in_pieces(raw):
    stream = raw.begin(head("/grpc.testing.TestService/StreamingInputCall"))
    body = message(b"\x0a\x05\x12\x03abc") * 2
    for index in range(len(body)):
        raw.send(stream, body[index:index + 1], end=index == len(body) - 1)
    answer = raw.answer(stream)
    assert answer.status == OK and answer.data == message(b"\x08\x06")


@row("no message where one is due: INTERNAL", "Requests")
def test_unary_without_message(raw):
    assert raw.call(body=b"").status == INTERNAL


@row("request trailers are read and ignored", "Requests")
def test_request_trailers(raw):
    stream = raw.begin(head())
    raw.send(stream, message())
    raw.h2.send_headers(stream, [("x-trailer", "1")], end_stream=True)
    raw.flush()
    assert served(raw.answer(stream))


# Compression


@pytest.mark.parametrize("encoding", cases(
    "Compression", "grpc-encoding `{}`: UNIMPLEMENTED, with grpc-accept-encoding",
    *[(e, e) for e in ("br", "deflate", "snappy", "x-unknown", "GZIP")], source="gRPC "))
def test_unknown_encoding(raw, encoding):
    answer = raw.call(head(grpc_encoding=encoding))
    assert (answer.http, answer.status) == ("200", UNIMPLEMENTED)
    assert "identity" in answer.header("grpc-accept-encoding") and encoding in answer.header("grpc-message")


@row("grpc-encoding `identity` is served", "Compression", source="gRPC ")
def test_identity(raw):
    assert served(raw.call(head(grpc_encoding="identity")))


@row("a Compressed-Flag without a grpc-encoding: INTERNAL", "Compression", source="gRPC ")
def test_compressed_without_encoding(raw):
    assert raw.call(head(), message(b"", flag=1)).status == INTERNAL


@row("an answer is compressed only for a client that accepts gzip", "Compression", source="gRPC ")
def test_answer_without_accept(raw, messages):
    request = messages.SimpleRequest(response_size=1000, response_compressed=messages.BoolValue(value=True))
    answer = raw.call(head("/grpc.testing.TestService/UnaryCall"), message(request.SerializeToString()))
    assert "grpc-encoding" not in answer.headers and answer.data[0] == 0 and len(answer.data) > 1000


@row("an answer with gzip: `grpc-encoding` in the headers, the Compressed-Flag set, gzip in the message",
     "Compression", source="gRPC ")
def test_compressed_answer_on_the_wire(raw, messages):
    request = messages.SimpleRequest(response_size=1000, response_compressed=messages.BoolValue(value=True))
    answer = raw.call(head("/grpc.testing.TestService/UnaryCall", grpc_accept_encoding="identity, deflate,gzip"),
                      message(request.SerializeToString()))
    assert answer.headers["grpc-encoding"] == "gzip" and answer.data[0] == 1
    inflated = messages.SimpleResponse.FromString(gzip.decompress(answer.data[5:]))
    assert inflated.payload.body == bytes(1000)


@row("every answer lists the encodings that are accepted", "Compression", source="gRPC ")
def test_accepted_encodings(raw):
    assert set(raw.call().headers["grpc-accept-encoding"].replace(" ", "").split(",")) == {"identity", "gzip"}


@row("a compressed and a plain message on one call", "Compression", source="gRPC ")
def test_mixed_messages(raw):
    stream = raw.begin(head("/grpc.testing.TestService/StreamingInputCall", grpc_encoding="gzip"))
    payload = b"\x0a\x05\x12\x03abc"
    raw.send(stream, message(gzip.compress(payload), flag=1) + message(payload), end=True)
    assert raw.answer(stream).data == message(b"\x08\x06")


@pytest.mark.parametrize("body", cases(
    "Compression", "a compressed message {}: INTERNAL", *[(name, body) for name, body in [
        ("that is not gzip", b"hello"), ("cut short", gzip.compress(bytes(1000))[:-3]),
        ("with bytes behind its end", gzip.compress(b"") + b"x"), ("of no bytes", b""),
        ("of zlib instead of gzip", zlib.compress(b"abc"))]], source="gRPC "))
def test_broken_gzip(raw, body):
    assert raw.call(head(grpc_encoding="gzip"), message(body, flag=1)).status == INTERNAL
    assert raw.call().status == OK


@row("a compressed message that inflates to more than the limit: RESOURCE_EXHAUSTED", "Compression", source="gRPC ")
def test_bomb(raw):
    answer = raw.call(head(grpc_encoding="gzip"), message(gzip.compress(bytes(16 << 20)), flag=1))
    assert answer.status == RESOURCE_EXHAUSTED and str(4 << 20) in answer.header("grpc-message")


# What gRPC takes from HTTP/2


@pytest.fixture
def tuned(peer_server, certificates):
    """A raw client with SETTINGS of its own."""
    clients = []

    def connect(**settings):
        values = {getattr(SettingCodes, name.upper()): value for name, value in settings.items()}
        clients.append(Client("localhost", peer_server.port, certificates.client_context(), values))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


def sized(messages, size):
    return message(messages.SimpleRequest(response_size=size).SerializeToString())


UNARY = "/grpc.testing.TestService/UnaryCall"


@row("a window of 7 bytes: the answer comes in pieces of at most that, as the window is given back",
     "6.9 (flow control)", source="RFC 9113, ")
def test_small_window(tuned, messages):
    raw = tuned(initial_window_size=7)
    answer = raw.call(head(UNARY), sized(messages, 300))
    assert answer.status == OK and len(answer.data) > 300 and raw.largest_data <= 7


@row("no window at all: headers come, DATA waits until there is one; other calls go on", "6.9.2", source="RFC 9113, ")
def test_no_window(tuned, messages):
    raw = tuned(initial_window_size=0)
    waiting = raw.begin(head(UNARY))
    raw.send(waiting, sized(messages, 10), end=True)
    assert raw.call(head("/no.Such/Method")).status == UNIMPLEMENTED
    assert raw.answers[waiting].data == b""
    raw.h2.increment_flow_control_window(100, waiting)
    raw.flush()
    assert raw.answer(waiting).status == OK


@row("frames no larger than the client takes", "4.2 and 6.5.2 (SETTINGS_MAX_FRAME_SIZE)", source="RFC 9113, ")
def test_max_frame_size(tuned, messages):
    raw = tuned(initial_window_size=1 << 20)
    answer = raw.call(head(UNARY), sized(messages, 60_000))
    assert answer.status == OK and raw.largest_data <= 16_384


@row("a client that keeps no header table", "6.5.2 (SETTINGS_HEADER_TABLE_SIZE 0)", source="RFC 9113, ")
def test_no_header_table(tuned):
    raw = tuned(header_table_size=0)
    assert all(served(raw.call()) for _ in range(3))


@row("PING is answered with its bytes, also while a call waits", "6.7", source="RFC 9113, ")
def test_ping(raw):
    stream = raw.begin(head("/grpc.testing.TestService/FullDuplexCall"))
    raw.h2.ping(b"12345678")
    raw.flush()
    raw.send(stream, b"", end=True)
    assert raw.answer(stream).status == OK and raw.pongs == [b"12345678"]


@row("SETTINGS announce window, frame size, header list and streams", "6.5.2", source="RFC 9113, ")
def test_announced_settings(raw):
    raw.call()
    settings = raw.h2.remote_settings
    assert settings.max_header_list_size == 16 << 10 and settings.max_concurrent_streams == 1000
    assert settings.initial_window_size > 65_535 and settings.max_frame_size >= 16_384


@row("streams over the announced number: RST_STREAM REFUSED_STREAM, and those below go on", "5.1.2",
     source="RFC 9113, ")
def test_too_many_streams(raw):
    raw.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 2000
    raw.h2.remote_settings.acknowledge()
    duplex = "/grpc.testing.TestService/FullDuplexCall"
    streams = [raw.begin(head(duplex)) for _ in range(1001)]
    assert raw.answer(streams[-1]).reset == 7
    raw.send(streams[0], b"", end=True)
    assert raw.answer(streams[0]).status == OK and raw.answers[streams[1]].reset is None


@row("headers spread over CONTINUATION frames", "6.10", source="RFC 9113, ")
def test_continuation(raw):
    stream = raw.h2.get_next_available_stream_id()
    raw.answers[stream] = Answer()
    block = raw.h2.encoder.encode(head())
    cut = len(block) // 2
    raw.h2.send_headers(stream, head())
    raw.h2.clear_outbound_data_buffer()

    def frame(kind, flags, payload):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    raw.socket.sendall(frame(1, 0, block[:cut]) + frame(9, 0, b"") + frame(9, 4, block[cut:]))
    raw.send(stream, message(), end=True)
    assert served(raw.answer(stream))


@row("GOAWAY from the client: its open call goes on to the end", "6.8", source="RFC 9113, ")
def test_goaway_from_client(raw):
    stream = raw.begin(head())
    raw.socket.sendall(b"\0\0\x08\x07\0\0\0\0\0" + bytes(8))
    raw.send(stream, message(), end=True)
    assert served(raw.answer(stream))


# Stock client at the edge


@pytest.mark.row("metadata over the server's announced limit: the stock client refuses it or the server does; "
                 "never a hang", "RFC 9113, 6.5.2 (our limit)", "stock client → our server")
def test_stock_client_with_too_much_metadata(certificates, peer_server, messages):
    import stock
    with certificates.channel(peer_server.port) as channel:
        stub = stock.Stub(channel, messages)
        with pytest.raises(grpc.RpcError) as caught:
            stub.EmptyCall(messages.Empty(), timeout=5, metadata=[("x-large", "y" * 40_000)])
        assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE), caught.value
