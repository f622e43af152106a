"""The JSON door (Docs/json-api.md), by curl and by an independent HTTP/2 client.

The table of refusals in the page is the test's own list: every row is sent, and its status and reason compared.
"""

import base64
import json
import random
import re
import subprocess
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import h2.config
import h2.connection
import h2.errors
import h2.events
import httpx
import pytest
from google.protobuf import json_format

import stubs
import support

PAGE = (stubs.ROOT / "Docs" / "json-api.md").read_text()


class Door:
    """Short ways to say what the tests say often."""

    def __init__(self, broker):
        self.broker = broker
        tls = broker.dir / "tls"
        self.files = [str(tls / name) for name in ("ca.pem", "admin.pem", "admin.key")]
        self.http = httpx.Client(
            http1=False, http2=True, base_url=f"https://{broker.address}", timeout=support.TIMEOUT, trust_env=False,
            verify=self.context())

    def context(self):
        import ssl

        ca, certificate, key = self.files
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["h2"])
        return context

    def call(self, method, path, body=None, headers=None, text=None):
        headers = dict(headers or {})
        content = text
        if body is not None:
            content = json.dumps(body)
            headers.setdefault("content-type", "application/json")
        response = self.http.request(method, path, content=content, headers=headers)
        assert response.http_version == "HTTP/2"
        return response

    def ok(self, method, path, body=None, **rest):
        response = self.call(method, path, body, **rest)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        assert int(response.headers["content-length"]) == len(response.content)
        return response.json()

    def refused(self, method, path, body=None, status=400, reason="JSON_INVALID", **rest):
        """The violations, by field."""
        response = self.call(method, path, body, **rest)
        assert response.status_code == status, response.text
        return explain(response, reason)

    def curl(self, *arguments, check=True):
        """Status and text."""
        ca, certificate, key = self.files
        result = subprocess.run(
            ["curl", "-sS", "--http2", "--max-time", str(support.TIMEOUT), "--cacert", ca, "--cert", certificate,
             "--key", key, "-w", "\n%{http_code} %{http_version} %{size_upload}", *arguments],
            capture_output=True, text=True)
        if check:
            assert result.returncode == 0, result.stderr
        *text, last = result.stdout.split("\n")
        return int(last.split()[0]), "\n".join(text), last.split()

    def topic(self, partitions=1):
        name = f"json-{time.time_ns():x}"
        self.ok("POST", "/v1/topics", {"name": name, "partitions": partitions})
        return name


def explain(response, reason):
    error = response.json()
    assert set(error) == {"code", "message", "details"}, error
    details = {detail["@type"].rsplit(".", 1)[1]: detail for detail in error["details"]}
    info = details["ErrorInfo"]
    assert info["reason"] == reason, error
    assert info["domain"] == "skein" and info["metadata"]["outcome"] in ("definite", "unknown")
    return {v["field"]: v["description"] for v in details.get("BadRequest", {}).get("fieldViolations", [])}


@pytest.fixture(scope="module")
def door(broker):
    door = Door(broker)
    yield door
    door.http.close()


# -- curl -----------------------------------------------------------------------------------------

def test_curl_creates_publishes_fetches_describes(door):
    url, name = f"https://{door.broker.address}/v1", f"curl-{time.time_ns():x}"
    status, text, (_, version, _) = door.curl(
        f"{url}/topics", "--json", json.dumps({"name": name, "settings": {"retention.ms": "86400000"}}))
    assert status == 200 and version == "2" and re.fullmatch("[0-9a-f]{32}", json.loads(text)["topicId"])
    status, text, _ = door.curl(
        f"{url}/topics/{name}/records?bytes=text", "--json",
        json.dumps({"records": [{"key": "a", "value": "hello"}, {"value": "wörld", "headers": [{"name": "h"}]}]}))
    assert status == 200 and [r["offset"] for r in json.loads(text)["results"]] == ["0", "1"]
    status, text, _ = door.curl(f"{url}/topics/{name}/partitions/0/records?bytes=text&offset=1")
    (part,) = json.loads(text)["partitions"]
    assert status == 200 and part["nextOffset"] == "2" and part["highWatermark"] == "2"
    (record,) = part["records"]
    assert record["value"] == "wörld" and record["offset"] == "1" and "key" not in record
    assert record["headers"] == [{"name": "h", "value": ""}]
    status, text, _ = door.curl(f"{url}/topics/{name}")
    described = json.loads(text)
    assert status == 200 and described["topic"]["partitions"] == 1
    assert {s["name"]: s["value"] for s in described["settings"]}["retention.ms"] == "86400000"
    status, text, _ = door.curl(f"{url}/topics/{name}/offsets?spec=latest")
    assert status == 200 and json.loads(text)["partitions"][0]["offset"] == "2"
    status, text, _ = door.curl(
        f"{url}/topics/{name}/delete-records", "--json", '{"partitions":[{"partition":0,"beforeOffset":"1"}]}')
    assert status == 200 and json.loads(text)["partitions"][0]["offset"] == "1"
    status, _, _ = door.curl("-X", "DELETE", f"{url}/topics/{name}")
    assert status == 200
    status, text, _ = door.curl(f"{url}/topics/{name}")
    assert status == 404 and '"reason":"TOPIC_NOT_FOUND"' in text


def test_curl_head_and_options(door):
    url = f"https://{door.broker.address}/v1/topics"
    status, text, _ = door.curl("-I", url)
    assert status == 200 and "content-length:" in text and "content-type: application/json" in text
    status, text, _ = door.curl("-i", "-X", "OPTIONS", url)
    assert status == 204 and "allow: GET, HEAD, POST, OPTIONS" in text


def test_no_http_1(door):
    """ALPN offers h2 alone."""
    ca, certificate, key = door.files
    result = subprocess.run(
        ["curl", "-sS", "--http1.1", "--max-time", "10", "--cacert", ca, "--cert", certificate, "--key", key,
         f"https://{door.broker.address}/v1/topics"], capture_output=True, text=True)
    assert result.returncode == 35 and "no application protocol" in result.stderr


def test_no_certificate_no_answer(door):
    result = subprocess.run(
        ["curl", "-sS", "--http2", "--max-time", "10", "--cacert", door.files[0],
         f"https://{door.broker.address}/v1/topics"], capture_output=True, text=True)
    assert result.returncode != 0 and "certificate required" in result.stderr, result.stderr


# -- One log, two ways ------------------------------------------------------------------------------

def test_json_and_grpc_meet_in_the_log(door, client, api):
    topic = door.topic(partitions=3)
    value = bytes(range(256))
    (result,) = door.ok("POST", f"/v1/topics/{topic}/records", {
        "records": [{"key": "", "value": base64.urlsafe_b64encode(value).decode().rstrip("="), "partition": 2}]})["results"]
    assert (result["partition"], result["offset"]) == (2, "0") and "error" not in result
    (record,) = client.fetch(topic, 2).records
    assert record.value == value and record.key == b"" and record.HasField("key")
    client.publish(topic, [client.record(key=b"k", value=value, partition=2)])
    (part,) = door.ok("GET", f"/v1/topics/{topic}/partitions/2/records?offset=1")["partitions"]
    assert base64.b64decode(part["records"][0]["value"]) == value
    # The same answer as gRPC's, field by field.
    wanted = api.consumer.FetchRequest(
        partitions=[api.consumer.FetchPartition(topic=topic, partition=2, offset=1)], decoded=True)
    by_grpc = json_format.MessageToDict(
        client.consumer.Fetch(wanted, timeout=support.TIMEOUT), always_print_fields_with_no_presence=True)
    assert by_grpc["partitions"] == [part]
    by_json = door.ok("POST", "/v1/skein.v1.Consumer/Fetch", json_format.MessageToDict(wanted))
    assert by_json == by_grpc


def test_bytes_that_are_not_text(door):
    topic = door.topic()
    door.ok("POST", f"/v1/topics/{topic}/records?bytes=text",
            {"records": [{"value": {"base64": "//8="}}, {"value": "ü"}, {}]})
    (part,) = door.ok("GET", f"/v1/topics/{topic}/partitions/0/records?bytes=text")["partitions"]
    assert [r.get("value") for r in part["records"]] == [{"base64": "//8="}, "ü", None]


def test_errors_of_items_are_explained(door):
    topic = door.topic()
    results = door.ok("POST", f"/v1/topics/{topic}/records",
                      {"records": [{"value": "YQ==", "partition": 7}, {"value": "YQ=="}]})["results"]
    assert results[0]["offset"] == "-1" and results[1]["offset"] == "0"
    error = results[0]["error"]
    assert error["code"] == 5 and error["details"][0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert error["details"][0]["reason"] == "PARTITION_NOT_FOUND"


def test_handlers_violations_name_json_fields(door):
    fields = door.refused("GET", "/v1/topics?pageSize=5000", reason="INVALID_REQUEST")
    assert list(fields) == ["pageSize"]
    fields = door.refused("POST", "/v1/topics", {"name": "..", "partitions": -1, "settings": {"retention.mss": "1"}},
                          reason="INVALID_REQUEST")
    assert {"name", "partitions"} <= set(fields) and len(fields) == 3


def test_update_and_growth(door):
    topic = door.topic()
    assert door.ok("PATCH", f"/v1/topics/{topic}", {"set": {"retention.ms": "3600000"}})["settings"]
    grown = door.ok("POST", f"/v1/topics/{topic}/add-partitions", {"partitions": 4})
    assert grown["topic"]["partitions"] == 4 and grown["topic"]["generation"] == 2
    door.refused("PATCH", f"/v1/topics/{topic}", {"set": {"x": "1"}, "expectedRevision": "1"}, reason="INVALID_REQUEST")


def test_cluster(door):
    assert door.ok("GET", "/v1/cluster")["principal"] == "admin"
    assert door.ok("GET", "/v1/cluster/health")["status"] == "HEALTH_STATUS_OK"
    door.refused("POST", "/v1/cluster/drain", {"brokerId": 4711}, reason="INVALID_REQUEST")
    assert door.ok("POST", "/v1/grpc.health.v1.Health/Check")["status"] == "SERVING"


# -- Every refusal of the page ------------------------------------------------------------------------

def page_rows():
    table = PAGE.split("<!-- refusals: driven by Tests/interop/test_json.py -->")[1].split("<!-- end")[0]
    rows = []
    for line in table.strip().split("\n")[2:]:
        cells = [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        rows.append(pytest.param(*cells, id=f"{cells[0]} {cells[2]}"[:60]))
    return rows


@pytest.mark.parametrize("request_line,headers,body,status,reason", page_rows())
def test_refusals_of_the_page(door, request_line, headers, body, status, reason):
    method, path = request_line.split(" ", 1)
    headers = dict(h.split(": ", 1) for h in headers.split("; ") if h)
    if body and "content-type" not in headers:
        headers["content-type"] = "application/json"
    headers = {k: v for k, v in headers.items() if v != "none"}
    text = body.encode().decode("unicode_escape") if "\\x" in body else body
    response = door.call(method, path, text=text.encode("latin-1" if "\\x" in body else "utf-8") or None, headers=headers)
    assert response.status_code == int(status), response.text
    if method != "HEAD":
        explain(response, reason)


def test_the_page_names_every_reason_of_the_door():
    reasons = {row.values[4] for row in page_rows()}
    assert reasons >= {
        "JSON_INVALID", "PARAMETER_INVALID", "PATH_UNKNOWN", "HTTP_METHOD_NOT_ALLOWED", "MEDIA_TYPE_UNSUPPORTED",
        "NOT_ACCEPTABLE", "ENCODING_UNSUPPORTED", "METHOD_UNKNOWN", "PERMISSION_DENIED"}


# -- Bodies, deadlines, cancellation --------------------------------------------------------------------

class RawRequest:
    """One HTTP/2 request, frame by frame."""

    def __init__(self, door, method, path, headers=()):
        import socket

        host, port = door.broker.address.rsplit(":", 1)
        self.socket = door.context().wrap_socket(
            socket.create_connection((host, int(port)), timeout=support.TIMEOUT), server_hostname=host)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.send_headers(1, [(":method", method), (":scheme", "https"), (":authority", "localhost"),
                                 (":path", path), *headers])
        self.status, self.body, self.ended, self.reset = None, b"", False, None
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def pump(self, timeout):
        """Takes what has come; False at the end of the time."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return False
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.status = int(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                self.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = True
            elif isinstance(event, h2.events.StreamReset):
                self.reset = event.error_code
        self.flush()
        return bool(data)

    def answer(self):
        deadline = time.monotonic() + support.TIMEOUT
        while not self.ended and self.reset is None and time.monotonic() < deadline:
            self.pump(1)
        return self.status, self.body

    def close(self):
        self.socket.close()


JSON_TYPE = ("content-type", "application/json")


def test_an_announced_body_over_the_limit_is_refused_before_it_comes(door):
    request = RawRequest(door, "POST", "/v1/topics", [JSON_TYPE, ("content-length", str(1 << 30))])
    status, body = request.answer()
    request.close()
    assert status == 413 and b"MESSAGE_TOO_LARGE" in body and b"before it was read" in body


def test_an_unannounced_body_over_the_limit_is_refused_before_it_is_buffered(door):
    """64 MiB are on offer; the answer comes within the limit and a window, and the memory stays."""
    request = RawRequest(door, "POST", "/v1/topics", [JSON_TYPE])
    before, sent, chunk = door.broker.resident_bytes(), 0, b" " * 16_384
    while request.status is None and sent < 64 << 20:
        room = min(request.h2.local_flow_control_window(1), len(chunk))
        if room:
            request.h2.send_data(1, chunk[:room])
            request.flush()
            sent += room
            request.pump(0.0001)
        else:
            request.pump(1)
    status, body = request.answer()
    grown = door.broker.resident_bytes() - before
    # Whoever still sends is told to stop, and not that something failed (RFC 9113, 8.1).
    while request.reset is None and request.pump(5):
        pass
    request.close()
    assert request.reset == h2.errors.ErrorCodes.NO_ERROR
    assert status == 413 and b"MESSAGE_TOO_LARGE" in body
    assert sent <= (16 << 20) + (8 << 20), sent
    assert grown < 80 << 20, grown


def test_curl_hears_why_its_body_is_refused(door, tmp_path):
    """The reset must not overtake the upload: curl would report a broken stream."""
    body = tmp_path / "body"
    body.write_bytes(b" " * 20_000_000)
    for arguments in (["--json", f"@{body}"], ["-T", str(body), "-X", "POST", "-H", "content-type: application/json"]):
        status, text, _ = door.curl(*arguments, f"https://{door.broker.address}/v1/topics")
        assert status == 413 and "MESSAGE_TOO_LARGE" in text


def test_a_large_body_and_a_large_answer(door):
    """Beyond every window; worked on by the pool."""
    topic, value = door.topic(), base64.b64encode(random.Random(1).randbytes(700_000)).decode()
    results = door.ok("POST", f"/v1/topics/{topic}/records", {"records": [{"value": value}] * 9})["results"]
    assert [r["offset"] for r in results] == [str(i) for i in range(9)]
    (part,) = door.ok(
        "GET", f"/v1/topics/{topic}/partitions/0/records?maxBytes={15 << 20}")["partitions"]
    assert [r["value"] for r in part["records"]] == [value] * 9


def test_deadlines(door):
    topic = door.topic()
    path = f"/v1/topics/{topic}/partitions/0/records?maxWaitMs=20000&minBytes=1"
    for way in ({"path": path + "&timeout=200ms"}, {"path": path, "headers": {"timeout": "200ms"}},
                {"path": path, "headers": {"grpc-timeout": "200m"}}):
        begun = time.monotonic()
        door.refused("GET", way["path"], status=504, reason="DEADLINE_EXCEEDED", headers=way.get("headers"))
        assert 0.15 < time.monotonic() - begun < 10


def test_a_wait_is_answered_by_a_publish(door):
    topic, other = door.topic(), Door(door.broker)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            other.ok, "GET", f"/v1/topics/{topic}/partitions/0/records?maxWaitMs=15000&minBytes=1&bytes=text")
        door.ok("POST", f"/v1/topics/{topic}/records?bytes=text", {"records": [{"value": "now"}]})
        (part,) = waiting.result()["partitions"]
    other.http.close()
    assert [r["value"] for r in part["records"]] == ["now"]


def test_a_cancelled_request_leaves_the_connection(door):
    topic = door.topic()
    request = RawRequest(door, "GET", f"/v1/topics/{topic}/partitions/0/records?maxWaitMs=20000&minBytes=1")
    request.pump(0.2)
    request.h2.reset_stream(1, 8)
    request.h2.send_headers(3, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/v1/cluster")],
                            end_stream=True)
    request.flush()
    request.reset = None
    status, body = request.answer()
    request.close()
    assert status == 200 and b'"principal":"admin"' in body


def test_many_at_once(door, tmp_path):
    """400 publishes by curl, up to 100 at a time on one connection. (httpx is no use here: one client in many
    threads loses answers by itself.)"""
    topic = door.topic()
    one = (f'url = "https://{door.broker.address}/v1/topics/{topic}/records"\noutput = "/dev/null"\n'
           'json = "{\\"records\\":[{\\"value\\":\\"YQ==\\"}]}"\n')
    ca, certificate, key = door.files
    one += f'cacert = "{ca}"\ncert = "{certificate}"\nkey = "{key}"\nwrite-out = "%{{http_code}} %{{num_connects}}\\n"\n'
    config = tmp_path / "requests"
    config.write_text("next\n".join([one] * 400))
    result = subprocess.run(
        ["curl", "-sS", "--http2", "-Z", "--parallel-max", "100", "--max-time", str(support.TIMEOUT), "-K", str(config)],
        capture_output=True, text=True)
    answers = [line.split() for line in result.stdout.splitlines() if re.fullmatch(r"\d{3} \d", line)]
    assert result.returncode == 0 and len(answers) == 400, result.stderr
    assert {status for status, _ in answers} == {"200"} and sum(int(connects) for _, connects in answers) == 1
    offsets = door.ok("GET", f"/v1/topics/{topic}/offsets?spec=latest")["partitions"]
    assert [p["offset"] for p in offsets] == ["400"]


# -- Hostile bodies ---------------------------------------------------------------------------------------

def test_mutated_bodies_are_answered(door):
    """Seeded; whatever is sent, the answer is JSON with a reason, and the broker lives."""
    rng = random.Random(20261124)
    seeds = [
        ("/v1/topics", {"name": "json-mutated", "partitions": 2, "settings": {"retention.ms": "1000"}, "partitioner": "sticky"}),
        ("/v1/topics/json-mutated/records", {"records": [{"key": "YQ==", "value": "Yg==", "headers": [{"name": "h"}]}], "acks": 2}),
        ("/v1/fetch", {"partitions": [{"topic": "json-mutated", "offset": "0"}], "decoded": True}),
        ("/v1/skein.v1.Topics/ListOffsets", {"topic": "json-mutated", "spec": 1, "partitions": [0, 1]}),
    ]
    seen = {}
    for _ in range(600):
        path, body = rng.choice(seeds)
        text = bytearray(json.dumps(body).encode())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            kind = rng.randrange(4)
            if kind == 0:
                text[at] = rng.randrange(256)
            elif kind == 1:
                text[at:at] = bytes([rng.choice(b'{}[],:"\\0-e.')])
            elif kind == 2:
                del text[at:at + rng.randint(1, 6)]
            else:
                text[at:at] = text[at:at + 12]
            text = text or bytearray(b"{")
        response = door.call("POST", path, text=bytes(text), headers={"content-type": "application/json"})
        seen[response.status_code] = seen.get(response.status_code, 0) + 1
        assert response.status_code in (200, 400, 404, 409, 429), (bytes(text), response.text)
        if response.status_code != 200:
            assert response.json()["details"][0]["reason"], response.text
    assert seen[400] > 100, seen


# -- The document -------------------------------------------------------------------------------------------

def test_openapi_is_valid_and_committed(door):
    from openapi_spec_validator import OpenAPIV31SpecValidator, validate

    served = door.ok("GET", "/v1/openapi.json")
    assert served == json.loads((stubs.ROOT / "Docs" / "openapi.json").read_text())
    validate(served, cls=OpenAPIV31SpecValidator)
    assert served["openapi"] == "3.1.0"


def test_answers_fit_the_document(door):
    """What the door sends validates against the schemas that it publishes."""
    from jsonschema import Draft202012Validator

    document = door.ok("GET", "/v1/openapi.json")

    def check(schema, value):
        Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": document["components"]}).validate(value)

    topic = door.topic(partitions=2)
    check("skein.v1.PublishResponse", door.ok("POST", f"/v1/topics/{topic}/records", {"records": [{"value": "YQ=="}]}))
    check("skein.v1.FetchResponse", door.ok("GET", f"/v1/topics/{topic}/partitions/0/records"))
    check("skein.v1.DescribeTopicResponse", door.ok("GET", f"/v1/topics/{topic}"))
    check("skein.v1.ListTopicsResponse", door.ok("GET", "/v1/topics"))
    check("skein.v1.ListOffsetsResponse", door.ok("GET", f"/v1/topics/{topic}/offsets?spec=earliest"))
    check("skein.v1.DescribeClusterResponse", door.ok("GET", "/v1/cluster"))
    check("skein.v1.ClusterHealthResponse", door.ok("GET", "/v1/cluster/health"))
    check("google.rpc.Status", door.call("GET", "/v1/topics/no-such").json())


def test_members_of_a_oneof_exclude_each_other_in_the_document(door):
    """None and one fit; of two, neither the document nor the door takes any pair. (Members of type bool, string
    and 64 bits are what the contract has.)"""
    from itertools import combinations

    from jsonschema import Draft202012Validator

    document = json.loads((stubs.ROOT / "Docs" / "openapi.json").read_text())
    pairs = 0
    for message in stubs.all_message_classes():
        name = message.DESCRIPTOR.full_name
        if name not in document["components"]["schemas"]:
            continue
        validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})
        for oneof in (o for o in message.DESCRIPTOR.oneofs if len(o.fields) > 1):
            values = {f.json_name: True if f.type == f.TYPE_BOOL else "1" for f in oneof.fields}
            assert validator.is_valid({}) and all(validator.is_valid({n: v}) for n, v in values.items()), name
            for a, b in combinations(values, 2):
                assert not validator.is_valid({a: values[a], b: values[b]}), (name, a, b)
                pairs += 1
    assert pairs >= 10  # the places of ResetOffsetsRequest
    violations = door.refused("POST", "/v1/groups/g/reset-offsets", {"shift": "1", "timeMs": "1"}, reason="JSON_INVALID")
    assert violations == {"shift": "excludes timeMs: give one of the two"}


def test_the_door_keeps_to_its_document(door):
    """Schemathesis makes requests from the document: such as fit it are understood, and no other breaks anything.

    Seeded; what ends the broker or its data for good is left out.
    """
    import warnings

    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable
    from jsonschema import Draft202012Validator
    from schemathesis.core import NOT_SET

    warnings.simplefilter("ignore")
    document = json.loads((stubs.ROOT / "Docs" / "openapi.json").read_text())
    counts = {}

    def send(case):
        query = [(name, json.dumps(value) if isinstance(value, (bool, dict, type(None))) else str(value))
                 for name, given_value in dict(case.query or {}).items()
                 for value in (given_value if isinstance(given_value, list) else [given_value])]
        path = case.formatted_path + ("?" + urllib.parse.urlencode(query, errors="replace") if query else "")
        headers, text = {}, None
        if case.body is not NOT_SET:
            text = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
            headers["content-type"] = "application/json"
        return door.call(case.method, path, text=text, headers=headers), (case.method, path, text)

    def check(case, mode, responses):
        response, sent = send(case)
        key = (mode.name.lower(), response.status_code)
        counts[key] = counts.get(key, 0) + 1
        assert response.status_code not in (500, 502), (sent, response.text)
        if response.status_code == 200:
            schema = responses["200"]["content"]["application/json"]["schema"]
        else:
            schema = {"$ref": "#/components/schemas/google.rpc.Status"}
            reason = response.json()["details"][0]["reason"]
            fits = mode is schemathesis.GenerationMode.POSITIVE
            # The document cannot say that a string has no NUL and no half of a surrogate pair.
            if fits and not re.search(r"%00|\\\\u0000|\\\\ud[89a-f]", str(sent)):
                assert reason not in ("JSON_INVALID", "PARAMETER_INVALID"), (sent, response.text)
        Draft202012Validator({**schema, "components": document["components"]}).validate(response.json())

    def drive(strategy, mode, responses):
        @settings(max_examples=4, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck))
        @given(case=strategy)
        def run(case):
            check(case, mode, responses)

        run()

    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = result.ok()
        if re.search("(?i)drain|accept-?loss|openapi", operation.path):
            continue
        responses = document["paths"][operation.path][operation.method.lower()]["responses"]
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try:
                drive(operation.as_strategy(generation_mode=mode), mode, responses)
            except Unsatisfiable:
                # A path without parameters has no wrong ones.
                assert mode is schemathesis.GenerationMode.NEGATIVE
    assert sum(counts.values()) > 120 and counts[("positive", 200)] > 15 and counts[("negative", 400)] > 50, counts
