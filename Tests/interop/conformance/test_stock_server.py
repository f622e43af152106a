"""The interoperability test cases with our client against a stock grpcio server."""

import pytest

import peers

CASES = "gRPC interop test descriptions, "
OURS = "our client → stock server"


def case(name, behaviour, section=None):
    return pytest.param(name, id=name, marks=pytest.mark.row(behaviour, CASES + (section or name), OURS))


@pytest.mark.parametrize("name", [
    case("empty_unary", "an empty request gets an empty answer"),
    case("large_unary", "a unary call larger than a frame, 271,828 bytes out and 314,159 in"),
    case("client_streaming", "four requests, one answer"),
    case("server_streaming", "one request, four answers of different sizes, in order"),
    case("ping_pong", "request and answer in turn on one stream"),
    case("half_duplex", "all requests before the first answer"),
    case("empty_stream", "a stream without a message either way"),
    case("custom_metadata", "metadata as initial (text) and trailing (-bin of 0, 1, 2, 3 and 256 bytes)"),
    case("status_code_and_message", "a status and its message, unary and streaming"),
    case("special_status_message", "a message of white space, Unicode and a percent sign (percent-encoded)"),
    case("unimplemented_method", "a method that the service does not have: UNIMPLEMENTED"),
    case("unimplemented_service", "a service that the server does not have: UNIMPLEMENTED"),
    case("cancel_after_begin", "cancelled before a message: CANCELLED"),
    case("cancel_after_first_response", "cancelled after the first answer: CANCELLED"),
    case("timeout_on_sleeping_server", "deadlines of 1 ms and 100 ms on a sleeping server: DEADLINE_EXCEEDED"),
    case("client_compressed_unary", "a request with gzip, and one without on a call that announced it"),
    case("client_compressed_streaming", "a stream of requests, the first with gzip, the second without"),
    case("server_compressed_unary", "an answer with gzip, and one without, told apart"),
    case("server_compressed_streaming", "a stream of answers, the first with gzip, the second without, told apart"),
    case("max_message_size", "an answer one byte over our limit: RESOURCE_EXHAUSTED with the limit, and the "
         "connection goes on", "(our limit)"),
])
def test_case(stock_server, certificates, name):
    peers.client_case(name, stock_server.port, certificates)


@pytest.mark.parametrize("milliseconds", [
    pytest.param(ms, id=text, marks=pytest.mark.row(
        f"a deadline of {text} reaches the server", "gRPC over HTTP/2, Requests: Timeout", OURS))
    for text, ms in [("5 s", 5000), ("150 s", 150_000), ("3 h", 10_800_000), ("40 h", 144_000_000),
                     ("4 years", 126_144_000_000)]])
def test_deadline_travels(stock_server, certificates, milliseconds):
    stock_server.calls.clear()
    result = peers.CallResult("/grpc.testing.TestService/EmptyCall", stock_server.port, certificates, milliseconds)
    assert result.code.name == "OK", vars(result)
    seen = stock_server.calls[-1]["remaining"]
    assert milliseconds / 1000 * 0.99 - 3 < seen <= milliseconds / 1000 * 1.001 + 0.01
