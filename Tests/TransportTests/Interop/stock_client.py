"""A stock grpcio client against the test server of TransportTests (no stubs: bytes in, bytes out).

usage: stock_client.py PORT FOLDER   (FOLDER holds ca.pem, client.pem, client.key)
Prints "ok NAME" for every check that held and exits with 1 at the first that did not.
"""
import sys
import threading
import time

import grpc

port, folder = sys.argv[1], sys.argv[2]


def read(name):
    with open(f"{folder}/{name}", "rb") as file:
        return file.read()


def channel(client="client"):
    credentials = grpc.ssl_channel_credentials(
        read("ca.pem"), read(f"{client}.key") if client else None, read(f"{client}.pem") if client else None)
    return grpc.secure_channel(
        f"localhost:{port}", credentials,
        options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)])


def check(name, held, note=""):
    if not held:
        print(f"FAILED {name}: {note}")
        sys.exit(1)
    print(f"ok {name}")


def failure(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    return None


main = channel()
echo = main.unary_unary("/t.T/Echo")
for size in [0, 1, 1000, 70_000, 1 << 20, 8 << 20]:
    body = bytes([size % 251]) * size
    check(f"unary {size}", echo(body, timeout=60) == body)

count = main.stream_unary("/t.T/Count")
check("client stream", count(iter([b"x" * n for n in range(200)]), timeout=30) == b"200 19900")

flood = main.unary_stream("/t.T/Flood")
check("server stream", sum(len(m) for m in flood(b"300 20000", timeout=60)) == 6_000_000)

both = main.stream_stream("/t.T/Echo")
sent = [bytes([n]) * (n * 97) for n in range(100)]
check("both ways", list(both(iter(sent), timeout=30)) == sent)

threads_ok = []


def parallel(n):
    threads_ok.append(list(both(iter([bytes([n])] * 50), timeout=60)) == [bytes([n])] * 50)


threads = [threading.Thread(target=parallel, args=(n,)) for n in range(20)]
[t.start() for t in threads]
[t.join() for t in threads]
check("20 parallel streams", threads_ok == [True] * 20)

error = failure(lambda: main.unary_unary("/t.T/Fail")(b"", timeout=10))
trailers = {k: v for k, v in error.trailing_metadata()}
check("status", error.code() == grpc.StatusCode.FAILED_PRECONDITION and error.details() == "100% wr\u00f6ng\n")
check("status details", trailers.get("grpc-status-details-bin") == bytes([8, 9, 0, 255]), trailers)
check("trailers", trailers.get("x-why") == "test")

error = failure(lambda: main.unary_unary("/t.T/Nothing")(b"", timeout=10))
check("unknown method", error.code() == grpc.StatusCode.UNIMPLEMENTED and "/t.T/Nothing" in error.details())

raw = bytes(range(256))
answer, call = main.unary_unary("/t.T/Meta").with_call(
    b"1", timeout=10, metadata=[("x-raw-bin", raw), ("x-text", "some text"), ("x-two", "1"), ("x-two", "2")])
for where, got in [("initial", call.initial_metadata()), ("trailing", call.trailing_metadata())]:
    pairs = [(k, v) for k, v in got]
    check(f"{where} metadata", ("x-raw-bin", raw) in pairs and ("x-text", "some text") in pairs
          and ("x-two", "1") in pairs and ("x-two", "2") in pairs, pairs)

begin = time.monotonic()
error = failure(lambda: main.unary_unary("/t.T/Hold")(b"1", timeout=0.3))
check("deadline", error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - begin < 10)

pending = main.unary_unary("/t.T/Hold").future(b"1")
time.sleep(0.1)
check("cancel", pending.cancel())

error = failure(lambda: echo(b"x" * (17 << 20), timeout=60))
check("over the limit", error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "16777216" in error.details(),
      f"{error.code()} {error.details()}")
check("and the channel lives", echo(b"y", timeout=10) == b"y")

for path in ["/t.T/Echo", "/t.T/Gzip"]:
    for size in [1, 5000, 3 << 20]:
        answer = main.unary_unary(path)(b"z" * size, timeout=20, compression=grpc.Compression.Gzip)
        check(f"gzip {path} {size}", answer == b"z" * size)
error = failure(lambda: main.unary_unary("/t.T/Echo")(b"z" * (17 << 20), timeout=30, compression=grpc.Compression.Gzip))
check("gzip over the limit", error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "16777216" in error.details(),
      f"{error.code()} {error.details()}")
error = failure(lambda: echo(b"z" * 5000, timeout=10, compression=grpc.Compression.Deflate))
check("deflate refused", error.code() == grpc.StatusCode.UNIMPLEMENTED, f"{error.code()} {error.details()}")

# A slow reader on one stream does not hold up another.
slow = flood(b"2000 10000", timeout=60)
next(slow)
check("beside a slow reader", echo(b"a", timeout=10) == b"a")
slow.cancel()

for client in [None, "stranger", "expired"]:
    error = failure(lambda: channel(client).unary_unary("/t.T/Echo")(b"", timeout=5))
    check(f"certificate {client}", error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED),
          f"{error.code()} {error.details()}")
print("all ok")
