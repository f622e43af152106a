"""What our client makes of answers, from a server that can say anything (package h2)."""

import gzip

import pytest
from h2.settings import SettingCodes

import peers
from raw_http2 import Server, message

HTTP2 = "gRPC over HTTP/2, "
MAPPING = "HTTP to gRPC status code mapping"
RAW = "our client → raw server"
PLAIN = [(":status", "200"), ("content-type", "application/grpc")]
DONE = [("grpc-status", "0")]


def row(behaviour, source):
    return pytest.mark.row(behaviour, source, RAW)


@pytest.fixture
def answered(certificates):
    """Our client's view of one call that the raw server answers with `script`."""

    def call(script, settings=None, milliseconds=5000, words=(), body=None, pongs=None):
        with Server(certificates.server_context(), script, settings, body, pongs) as server:
            result = peers.CallResult("/t.T/M", server.port, certificates, milliseconds, *words)
            result.request = server.requests[0] if server.requests else None
            return result

    return call


def answer(*parts):
    """A script: lists are header blocks, bytes are DATA; the last part ends the stream."""

    def script(session, stream):
        for index, part in enumerate(parts):
            send = session.send_data if isinstance(part, bytes) else session.send_headers
            send(stream, part, end_stream=index == len(parts) - 1)

    return script


# Requests


@row("a request: POST, https, `te: trailers`, content-type application/grpc, grpc-timeout of at most 8 digits",
     HTTP2 + "Requests")
def test_shape_of_a_request(answered):
    request = answered(answer(PLAIN, message(), DONE)).request
    assert (request[":method"], request[":scheme"], request[":path"]) == ("POST", "https", "/t.T/M")
    assert request["te"] == "trailers" and request["content-type"].startswith("application/grpc")
    assert request["grpc-timeout"][:-1].isdigit() and len(request["grpc-timeout"]) <= 9
    assert request["grpc-timeout"][-1] in "HMSmun"
    assert not any(name != name.lower() for name in request)


# Answers that are not gRPC's


@pytest.mark.parametrize("status, code", [
    pytest.param(status, code, id=str(status), marks=row(f"HTTP {status} with an HTML body: {code}", MAPPING))
    for status, code in [
        (400, "INTERNAL"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "UNIMPLEMENTED"),
        (429, "UNAVAILABLE"), (502, "UNAVAILABLE"), (503, "UNAVAILABLE"), (504, "UNAVAILABLE"),
        (405, "UNKNOWN"), (415, "UNKNOWN"), (500, "UNKNOWN"), (301, "UNKNOWN"), (418, "UNKNOWN"), (204, "UNKNOWN")]])
def test_http_status(answered, status, code):
    result = answered(answer([(":status", str(status)), ("content-type", "text/html")], b"<h1>no</h1>"))
    assert result.code.name == code and str(status) in result.message


@row("HTTP 503 without a body: UNAVAILABLE", MAPPING)
def test_http_status_without_body(answered):
    assert answered(answer([(":status", "503")])).code.name == "UNAVAILABLE"


@row("a grpc-status beside HTTP 503: the grpc-status holds", MAPPING)
def test_grpc_status_precedes(answered):
    result = answered(answer([(":status", "503"), ("content-type", "application/grpc"), ("grpc-status", "7")]))
    assert result.code.name == "PERMISSION_DENIED"


@row("HTTP 200 with an HTML body: UNKNOWN", HTTP2 + "Responses: Content-Type")
def test_html_with_200(answered):
    result = answered(answer([(":status", "200"), ("content-type", "text/html")], b"<h1>hello</h1>"))
    assert result.code.name == "UNKNOWN" and "content-type" in result.message


@row("interim answers (HTTP 103) are skipped", MAPPING)
def test_interim_answer(answered):
    def script(session, stream):
        session.send_headers(stream, [(":status", "103")])
        answer(PLAIN, message(), DONE)(session, stream)

    result = answered(script)
    assert (result.code.name, result.messages) == ("OK", 1)


# What gRPC takes from HTTP/2


@row("a server that takes no calls now: the call waits until its deadline, and nothing of it is sent",
     "RFC 9113, 5.1.2")
def test_no_streams_allowed(answered):
    result = answered(answer(PLAIN, message(), DONE), settings={SettingCodes.MAX_CONCURRENT_STREAMS: 0},
                      milliseconds=500)
    assert result.code.name == "DEADLINE_EXCEEDED", vars(result)
    assert result.request is None, "nothing was sent"


@row("a window of 7 bytes: the request leaves in pieces, as the window is given back", "RFC 9113, 6.9")
def test_small_window(answered):
    body = []
    result = answered(answer(PLAIN, message(), DONE), settings={SettingCodes.INITIAL_WINDOW_SIZE: 7}, body=body,
                      words=["gzip"])
    assert result.code.name == "OK" and max(map(len, body)) <= 7 and len(body) > 3


@row("a server that keeps no header table", "RFC 9113, 6.5.2 (SETTINGS_HEADER_TABLE_SIZE 0)")
def test_no_header_table(answered):
    result = answered(answer(PLAIN, message(), DONE), settings={SettingCodes.HEADER_TABLE_SIZE: 0})
    assert result.code.name == "OK"


@row("PING is answered with its bytes", "RFC 9113, 6.7")
def test_ping(answered):
    pongs = []

    def script(session, stream):
        session.ping(b"12345678")
        answer(PLAIN, message(), DONE)(session, stream)

    assert answered(script, pongs=pongs).code.name == "OK" and pongs == [b"12345678"]


# The status


@pytest.mark.parametrize("value, code", [
    pytest.param(value, code, id=name, marks=row(f"grpc-status {name}: {code}", HTTP2 + "Responses: Status"))
    for name, value, code in [
        *[(str(number), str(number), name) for number, name in enumerate((
            "CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
            "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE "
            "DATA_LOSS UNAUTHENTICATED").split(), 1)],
        ("17", "17", "UNKNOWN"), ("99", "99", "UNKNOWN"), ("-1", "-1", "UNKNOWN"), ("not a number", "x", "UNKNOWN"),
        ("empty", "", "UNKNOWN"), ("05", "05", "NOT_FOUND"),
        ("99999999999999999999", "9" * 20, "UNKNOWN")]])
def test_status_values(answered, value, code):
    assert answered(answer(PLAIN + [("grpc-status", value)])).code.name == code


@row("trailers without grpc-status: UNKNOWN", HTTP2 + "Responses: Trailers")
def test_trailers_without_status(answered):
    assert answered(answer(PLAIN, message(), [("x-other", "1")])).code.name == "UNKNOWN"


@row("an answer that ends with DATA, without trailers: UNKNOWN", HTTP2 + "Responses: Trailers")
def test_no_trailers(answered):
    assert answered(answer(PLAIN, message())).code.name == "UNKNOWN"


@row("headers that end the stream without grpc-status: UNKNOWN", HTTP2 + "Responses: Trailers-Only")
def test_headers_only_without_status(answered):
    assert answered(answer(PLAIN)).code.name == "UNKNOWN"


@pytest.mark.parametrize("value, text", [
    pytest.param(value, text, id=name, marks=row(f"grpc-message {name}: never an error",
                                                 HTTP2 + "Responses: Status-Message"))
    for name, value, text in [
        ("percent-encoded", "50%25 %C3%A4%0A".encode(), "50% ä"), ("in lower-case hex", b"%c3%a4", "ä"),
        ("with a stray %", b"100% sure %zz %4", "100% sure %zz %4"),
        ("not UTF-8 once decoded", b"bad %FF byte", "bad � byte"), ("raw UTF-8", "ä".encode(), "ä")]])
def test_message_decoding(answered, value, text):
    result = answered(answer(PLAIN + [("grpc-status", "2"), ("grpc-message", value)]))
    assert (result.code.name, result.message) == ("UNKNOWN", text)


@pytest.mark.parametrize("value, expected", [
    pytest.param(value, expected, id=name, marks=row(f"`-bin` trailers {name}", HTTP2 + "Custom-Metadata"))
    for name, value, expected in [
        ("without padding", "q80", "[171, 205]"), ("with padding", "q80=", "[171, 205]"), ("empty", "", "[]"),
]])
def test_binary_trailers(answered, value, expected):
    result = answered(answer(PLAIN, message(), DONE + [("x-some-bin", value)]))
    assert (result.code.name, result.trailers.get("x-some-bin")) == ("OK", expected)


@pytest.mark.parametrize("value", [
    pytest.param("a$b!", id="not base64",
                 marks=row("a `-bin` header that is not base64: INTERNAL", HTTP2 + "Custom-Metadata"))])
def test_malformed_binary_header(answered, value):
    assert answered(answer(PLAIN + [("x-some-bin", value)], message(), DONE)).code.name == "INTERNAL"


# Compression


@row("a request with gzip: `grpc-encoding`, the Compressed-Flag, gzip in the message", "gRPC Compression")
def test_compressed_request_on_the_wire(answered):
    body = []

    def script(session, stream):
        answer(PLAIN, message(), DONE)(session, stream)

    result = answered(script, words=["gzip"], body=body)
    data = b"".join(body)
    assert result.code.name == "OK" and result.request["grpc-encoding"] == "gzip"
    assert data[0] == 1 and gzip.decompress(data[5:]) == bytes(1000)


@row("every request lists the encodings that are accepted", "gRPC Compression")
def test_accepted_encodings(answered):
    request = answered(answer(PLAIN, message(), DONE)).request
    assert set(request["grpc-accept-encoding"].replace(" ", "").split(",")) == {"identity", "gzip"}


@row("a compressed and a plain answer on one call", "gRPC Compression")
def test_mixed_answers(answered):
    both = message(gzip.compress(b"abc" * 9), flag=1) + message(b"plain")
    result = answered(answer(PLAIN + [("grpc-encoding", "gzip")], both, DONE))
    assert (result.code.name, result.sizes, result.compressed) == ("OK", "[27, 5]", "[true, false]")


@row("an encoding that was not offered: INTERNAL", "gRPC Compression")
def test_unknown_encoding(answered):
    result = answered(answer(PLAIN + [("grpc-encoding", "br")], message(b"x", flag=1), DONE))
    assert result.code.name == "INTERNAL" and "br" in result.message


@row("an answer that is not gzip though it says so: INTERNAL", "gRPC Compression")
def test_broken_gzip(answered):
    result = answered(answer(PLAIN + [("grpc-encoding", "gzip")], message(b"hello", flag=1), DONE))
    assert result.code.name == "INTERNAL"


@row("an answer that inflates to more than our limit: RESOURCE_EXHAUSTED", "gRPC Compression")
def test_bomb(answered):
    bomb = message(gzip.compress(bytes(16 << 20)), flag=1)
    assert answered(answer(PLAIN + [("grpc-encoding", "gzip")], bomb, DONE)).code.name == "RESOURCE_EXHAUSTED"


# Messages


@pytest.mark.parametrize("body", [
    pytest.param(body, id=name, marks=row(f"{name}: INTERNAL", HTTP2 + "Length-Prefixed-Message"))
    for name, body in [("an answer that ends inside a message", message(b"12345")[:-2]),
                       ("an answer that ends inside the five bytes before a message", b"\0\0"),
                       ("a Compressed-Flag other than 0 and 1", message(b"", flag=7)),
                       ("a compressed message without grpc-encoding", message(b"", flag=1))]])
def test_broken_messages(answered, body):
    assert answered(answer(PLAIN, body, DONE)).code.name == "INTERNAL"


@row("a message over our limit: RESOURCE_EXHAUSTED, before it has come", HTTP2 + "Message-Length (our limit)")
def test_message_over_the_limit(answered):
    def script(session, stream):
        session.send_headers(stream, PLAIN)
        session.send_data(stream, b"\0\xff\xff\xff\xff")

    assert answered(script).code.name == "RESOURCE_EXHAUSTED"


# Resets and the end of the connection


@pytest.mark.parametrize("error, code", [
    pytest.param(error, code, id=name, marks=row(f"RST_STREAM {name}: {code}", HTTP2 + "Errors"))
    for error, name, code in [
        (0, "NO_ERROR", "INTERNAL"), (1, "PROTOCOL_ERROR", "INTERNAL"), (2, "INTERNAL_ERROR", "INTERNAL"),
        (3, "FLOW_CONTROL_ERROR", "INTERNAL"), (4, "SETTINGS_TIMEOUT", "INTERNAL"), (5, "STREAM_CLOSED", "INTERNAL"),
        (6, "FRAME_SIZE_ERROR", "INTERNAL"), (7, "REFUSED_STREAM", "UNAVAILABLE"), (8, "CANCEL", "CANCELLED"),
        (9, "COMPRESSION_ERROR", "INTERNAL"), (10, "CONNECT_ERROR", "INTERNAL"),
        (11, "ENHANCE_YOUR_CALM", "RESOURCE_EXHAUSTED"), (12, "INADEQUATE_SECURITY", "PERMISSION_DENIED"),
        (13, "HTTP_1_1_REQUIRED", "INTERNAL"), (4711, "of an unknown code", "INTERNAL")]])
def test_reset(answered, error, code):
    result = answered(lambda session, stream: session.reset_stream(stream, error))
    assert result.code.name == code
    assert result.unprocessed == (error == 7)


@row("a reset after the answer's headers", HTTP2 + "Errors")
def test_reset_after_headers(answered):
    def script(session, stream):
        session.send_headers(stream, PLAIN)
        session.reset_stream(stream, 2)

    assert answered(script).code.name == "INTERNAL"


@row("GOAWAY that leaves the call out: UNAVAILABLE, known not to have been processed", HTTP2 + "GOAWAY Frame")
def test_goaway_before_the_call(answered):
    result = answered(lambda session, stream: session.close_connection(0, last_stream_id=0))
    assert (result.code.name, result.unprocessed) == ("UNAVAILABLE", True)


@row("GOAWAY that includes the call: it goes on to its end", HTTP2 + "GOAWAY Frame")
def test_goaway_after_the_call(answered):
    def script(session, stream):
        # By hand: h2 would refuse to send anything after its own GOAWAY.
        session._data_to_send += b"\0\0\x08\x07\0\0\0\0\0" + stream.to_bytes(4, "big") + bytes(4)
        answer(PLAIN, message(), DONE)(session, stream)

    assert answered(script).code.name == "OK"


@row("the connection breaks before the answer: UNAVAILABLE, and not known whether it was processed",
     HTTP2 + "Errors")
def test_connection_lost(answered):
    def script(session, stream):
        raise ConnectionResetError

    result = answered(script)
    assert (result.code.name, result.unprocessed) == ("UNAVAILABLE", False)


@row("no answer within the deadline: DEADLINE_EXCEEDED", HTTP2 + "Requests: Timeout")
def test_silence(answered):
    assert answered(lambda session, stream: None, milliseconds=200).code.name == "DEADLINE_EXCEEDED"


@row("a header list over our limit: the connection is closed, UNAVAILABLE", "RFC 9113, 6.5.2 (our limit)")
def test_header_list_too_large(answered):
    result = answered(answer(PLAIN + [(f"x-{n}", "y" * 1000) for n in range(40)]))
    assert result.code.name == "UNAVAILABLE" and "header" in result.message
