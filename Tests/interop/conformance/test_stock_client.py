"""The interoperability test cases with stock grpcio as the client of our server."""

import threading
import time

import grpc
import pytest

CASES = "gRPC interop test descriptions, "
OURS = "stock client → our server"
ANSWERS, REQUESTS = [31415, 9, 2653, 58979], [27182, 8, 1828, 45904]
TIMEOUT = 20


def row(behaviour, section):
    return pytest.mark.row(behaviour, CASES + section, OURS)


def output(messages, *sizes, interval_us=0, **fields):
    parameters = [messages.ResponseParameters(size=size, interval_us=interval_us) for size in sizes]
    return messages.StreamingOutputCallRequest(response_parameters=parameters, **fields)


def payload(messages, size):
    return messages.Payload(body=bytes(size))


def failure(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@row("an empty request gets an empty answer", "empty_unary")
def test_empty_unary(stub, messages):
    assert stub.EmptyCall(messages.Empty(), timeout=TIMEOUT) == messages.Empty()


@row("a unary call larger than a frame, 271,828 bytes in and 314,159 out", "large_unary")
def test_large_unary(stub, messages):
    request = messages.SimpleRequest(response_size=314159, payload=payload(messages, 271828))
    assert stub.UnaryCall(request, timeout=TIMEOUT).payload.body == bytes(314159)


@row("four requests, one answer", "client_streaming")
def test_client_streaming(stub, messages):
    requests = [messages.StreamingInputCallRequest(payload=payload(messages, size)) for size in REQUESTS]
    assert stub.StreamingInputCall(iter(requests), timeout=TIMEOUT).aggregated_payload_size == 74922


@row("one request, four answers of different sizes, in order", "server_streaming")
def test_server_streaming(stub, messages):
    answers = stub.StreamingOutputCall(output(messages, *ANSWERS), timeout=TIMEOUT)
    assert [len(answer.payload.body) for answer in answers] == ANSWERS


@row("request and answer in turn on one stream", "ping_pong")
def test_ping_pong(stub, messages):
    turn = threading.Semaphore(1)

    def requests():
        for request, answer in zip(REQUESTS, ANSWERS):
            assert turn.acquire(timeout=TIMEOUT)
            yield output(messages, answer, payload=payload(messages, request))

    sizes = []
    for answer in stub.FullDuplexCall(requests(), timeout=TIMEOUT):
        sizes.append(len(answer.payload.body))
        turn.release()
    assert sizes == ANSWERS


@row("all requests before the first answer", "half_duplex")
def test_half_duplex(stub, messages):
    answers = stub.HalfDuplexCall(iter([output(messages, size) for size in ANSWERS]), timeout=TIMEOUT)
    assert [len(answer.payload.body) for answer in answers] == ANSWERS


@row("a stream without a message either way", "empty_stream")
def test_empty_stream(stub):
    assert list(stub.FullDuplexCall(iter([]), timeout=TIMEOUT)) == []


@pytest.mark.parametrize("binary", [
    pytest.param(value, id=name, marks=row(f"metadata echoed as initial (text) and trailing (-bin: {name})",
                                           "custom_metadata"))
    for name, value in [("3 bytes", b"\xab\xab\xab"), ("2 bytes", b"\xab\xab"), ("1 byte", b"\xab"),
                        ("empty", b""), ("all 256 values", bytes(range(256)))]])
def test_custom_metadata(stub, messages, binary):
    metadata = [("x-grpc-test-echo-initial", "test_initial_metadata_value"),
                ("x-grpc-test-echo-trailing-bin", binary)]
    answer, unary = stub.UnaryCall.with_call(
        messages.SimpleRequest(response_size=10), timeout=TIMEOUT, metadata=metadata)
    stream = stub.FullDuplexCall(iter([output(messages, 10)]), timeout=TIMEOUT, metadata=metadata)
    assert len(list(stream)) == 1 and len(answer.payload.body) == 10
    for call in (unary, stream):
        assert ("x-grpc-test-echo-initial", "test_initial_metadata_value") in list(call.initial_metadata())
        assert ("x-grpc-test-echo-trailing-bin", binary) in list(call.trailing_metadata())


@row("one metadata name twice: both values, in order", "custom_metadata")
def test_repeated_metadata(stub, messages):
    metadata = [("x-grpc-test-echo-trailing-bin", b"one"), ("x-grpc-test-echo-trailing-bin", b"two, and more")]
    _, call = stub.EmptyCall.with_call(messages.Empty(), timeout=TIMEOUT, metadata=metadata)
    echoed = [value for name, value in call.trailing_metadata() if name == "x-grpc-test-echo-trailing-bin"]
    assert echoed == [b"one", b"two, and more"]


def check_status(stub, messages, message):
    status = messages.EchoStatus(code=2, message=message)
    unary = failure(lambda: stub.UnaryCall(messages.SimpleRequest(response_status=status), timeout=TIMEOUT))
    stream = failure(lambda: list(stub.FullDuplexCall(iter([output(messages, response_status=status)]),
                                                      timeout=TIMEOUT)))
    for error in (unary, stream):
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, message)


@row("a status and its message, unary and streaming", "status_code_and_message")
def test_status_code_and_message(stub, messages):
    check_status(stub, messages, "test status message")


@row("a message of white space, Unicode and a percent sign (percent-encoded)", "special_status_message")
def test_special_status_message(stub, messages):
    check_status(stub, messages, "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈 100%\t\n")


@pytest.mark.parametrize("code", [
    pytest.param(code, id=code.name, marks=row(f"status {code.name} arrives as it was sent",
                                               "status_code_and_message"))
    for code in grpc.StatusCode if code != grpc.StatusCode.OK])
def test_every_status(stub, messages, code):
    status = messages.EchoStatus(code=code.value[0], message="why")
    error = failure(lambda: stub.UnaryCall(messages.SimpleRequest(response_status=status), timeout=TIMEOUT))
    assert (error.code(), error.details()) == (code, "why")


@row("a method that the service does not have: UNIMPLEMENTED", "unimplemented_method")
def test_unimplemented_method(stub, messages):
    error = failure(lambda: stub.method("/grpc.testing.TestService/UnimplementedCall")(messages.Empty()))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


@row("a service that the server does not have: UNIMPLEMENTED", "unimplemented_service")
def test_unimplemented_service(stub, messages):
    error = failure(lambda: stub.method("/grpc.testing.UnimplementedService/UnimplementedCall")(messages.Empty()))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


@row("cancelled before a message: CANCELLED, and the connection goes on", "cancel_after_begin")
def test_cancel_after_begin(stub, messages):
    release = threading.Event()

    def requests():
        release.wait(TIMEOUT)
        yield from ()

    call = stub.StreamingInputCall.future(requests(), timeout=TIMEOUT)
    call.cancel()
    release.set()
    assert call.code() == grpc.StatusCode.CANCELLED
    test_empty_unary(stub, messages)


@row("cancelled after the first answer: CANCELLED, and the connection goes on", "cancel_after_first_response")
def test_cancel_after_first_response(stub, messages):
    release = threading.Event()

    def requests():
        yield output(messages, 31415, payload=payload(messages, 27182))
        release.wait(TIMEOUT)

    call = stub.FullDuplexCall(requests(), timeout=TIMEOUT)
    assert len(next(call).payload.body) == 31415
    call.cancel()
    release.set()
    failure(lambda: next(call))
    assert call.code() == grpc.StatusCode.CANCELLED
    test_empty_unary(stub, messages)


@pytest.mark.parametrize("seconds", [
    pytest.param(seconds, id=f"{seconds} s",
                 marks=row(f"a deadline of {seconds} s on a sleeping server: DEADLINE_EXCEEDED",
                           "timeout_on_sleeping_server"))
    for seconds in (0.001, 0.1)])
def test_timeout_on_sleeping_server(stub, messages, seconds):
    began = time.monotonic()
    request = output(messages, 31415, interval_us=10_000_000, payload=payload(messages, 27182))
    error = failure(lambda: list(stub.FullDuplexCall(iter([request]), timeout=seconds)))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 5


@row("50 calls at once on one connection, each its own answer", "concurrent_large_unary")
def test_concurrent_calls(stub, messages):
    calls = [stub.UnaryCall.future(messages.SimpleRequest(response_size=20000 + n), timeout=TIMEOUT)
             for n in range(50)]
    assert [len(call.result().payload.body) for call in calls] == [20000 + n for n in range(50)]


@row("a request of the largest size is taken; one byte more: RESOURCE_EXHAUSTED with the limit, and the "
     "connection goes on", "(our limit)")
def test_max_message_size(stub, messages):
    limit = 4 << 20
    envelope = messages.SimpleRequest(payload=payload(messages, limit)).ByteSize() - limit
    most = messages.SimpleRequest(payload=payload(messages, limit - envelope))
    assert most.ByteSize() == limit
    assert stub.UnaryCall(most, timeout=TIMEOUT) is not None
    more = messages.SimpleRequest(payload=payload(messages, limit - envelope + 1))
    error = failure(lambda: stub.UnaryCall(more, timeout=TIMEOUT))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and str(limit) in error.details()
    test_empty_unary(stub, messages)


# Compression


GZIP = grpc.Compression.Gzip


@row("a request with gzip is taken, and one that should have been compressed and is not is told apart",
     "client_compressed_unary")
def test_client_compressed_unary(stub, messages):
    def request(expected):
        return messages.SimpleRequest(expect_compressed=messages.BoolValue(value=expected), response_size=314159,
                                      payload=payload(messages, 271828))

    error = failure(lambda: stub.UnaryCall(request(True), timeout=TIMEOUT))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(stub.UnaryCall(request(True), timeout=TIMEOUT, compression=GZIP).payload.body) == 314159
    assert len(stub.UnaryCall(request(False), timeout=TIMEOUT).payload.body) == 314159


@row("a stream of requests with gzip, and one that should have been compressed and is not",
     "client_compressed_streaming")
def test_client_compressed_streaming(stub, messages):
    def requests(expected):
        return iter([messages.StreamingInputCallRequest(
            expect_compressed=messages.BoolValue(value=expected), payload=payload(messages, size))
            for size in (27182, 45904)])

    error = failure(lambda: stub.StreamingInputCall(requests(True), timeout=TIMEOUT))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    answer = stub.StreamingInputCall(requests(True), timeout=TIMEOUT, compression=GZIP)
    assert answer.aggregated_payload_size == 73086


@pytest.mark.parametrize("compressed", [
    pytest.param(value, id=name, marks=row(f"an answer {name}", "server_compressed_unary"))
    for name, value in [("with gzip", True), ("without", False)]])
def test_server_compressed_unary(stub, messages, compressed):
    request = messages.SimpleRequest(response_compressed=messages.BoolValue(value=compressed), response_size=314159)
    assert stub.UnaryCall(request, timeout=TIMEOUT).payload.body == bytes(314159)


@row("a stream of answers, the first with gzip, the second without", "server_compressed_streaming")
def test_server_compressed_streaming(stub, messages):
    request = messages.StreamingOutputCallRequest(response_parameters=[
        messages.ResponseParameters(size=size, compressed=messages.BoolValue(value=compressed))
        for size, compressed in [(31415, True), (92653, False)]])
    sizes = [len(answer.payload.body) for answer in stub.StreamingOutputCall(request, timeout=TIMEOUT)]
    assert sizes == [31415, 92653]
