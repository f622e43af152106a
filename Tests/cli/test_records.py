"""Records in and out, in every form."""

import base64
import json
import signal
import subprocess
import time

import pytest


def test_json_goes_round_byte_for_byte(skein, topic):
    records = [
        {"key": "a", "value": "one"}, {"key": None, "value": ""}, {"key": "", "value": None},
        {"key_base64": base64.b64encode(b"\xff\0").decode(), "value": "\n\u2028\"\\"},
        {"key": "h", "value": "x", "headers": [{"name": "n", "value": "v"}, {"name": "b", "value_base64": "/w=="}],
         "timestamp_ms": 1700000000123},
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    report = skein.ok("produce", topic, "--format", "json", "--partition", 1, "-o", "json", input=lines).json
    assert report["records"] == 5 and report["failed"] == 0
    assert report["partitions"] == [{"partition": 1, "records": 5, "first_offset": 0, "last_offset": 4}]
    found = [json.loads(line) for line in skein.ok("consume", topic, "--format", "json").lines]
    for number, (record, back) in enumerate(zip(records, found, strict=True)):
        assert back["partition"] == 1 and back["offset"] == number and back["topic"] == topic
        for field in ("key", "value", "key_base64", "headers", "timestamp_ms"):
            if record.get(field) is not None:
                assert back[field] == record[field]
        assert back.get("value") == record.get("value")
    # What consume prints, produce takes: into the same partitions, if asked.
    copy = topic + "-copy"
    skein.ok("topic", "create", copy, "-p", "3")
    printed = skein.ok("consume", topic, "--format", "json").out
    skein.ok("produce", copy, "--format", "json", "--keep-partitions", input=printed)
    again = [json.loads(line) for line in skein.ok("consume", copy, "--format", "json").lines]
    assert [{**r, "topic": topic} for r in again] == found


@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_binary_lines_go_round(skein, topic, encoding):
    values = [bytes(range(256)), b"", b"\n\n", b"\0"]
    encode = (lambda b: b.hex()) if encoding == "hex" else (lambda b: base64.b64encode(b).decode())
    lines = "".join(f"{encode(b'k')}:{encode(value)}\n" for value in values)
    skein.ok("produce", topic, "--encoding", encoding, "--key-separator", ":", "-p", 0, input=lines)
    out = skein.ok("consume", topic, "--encoding", encoding, "--format", "key-value", "--key-separator", ":")
    assert out.out == lines


def test_a_bad_line_is_named_and_what_went_before_is_told(skein, topic):
    result = skein.run("produce", topic, "--format", "json", input='{"value":"a"}\n{"value":"b"}\n{"valeu":"c"}\n')
    assert result.code == 1
    assert "stdin:3:" in result.err and "did you mean `value`" in result.err and "2 records were published" in result.err
    assert len(skein.ok("consume", topic).lines) == 2
    result = skein.run("produce", topic, "--encoding", "hex", input="6q\n")
    assert result.code == 1 and "stdin:1:" in result.err and "hex" in result.err and "6q" not in result.err


def test_keys_values_nulls_headers_and_templates(skein, topic):
    note = skein.ok("produce", topic, "--value", "one apple", "--key", "alice", "-H", "source=web", "-p", 2)
    assert "1 record to" in note.err and "at 2:0" in note.err and note.out == ""
    skein.ok("produce", topic, "--null-marker", "NULL", "-k", "bob", "-p", 2, input="NULL\nx\n")
    found = [json.loads(line) for line in skein.ok("consume", topic, "--format", "json").lines]
    assert [(r["key"], r["value"]) for r in found] == [("alice", "one apple"), ("bob", None), ("bob", "x")]
    assert found[0]["headers"] == [{"name": "source", "value": "web"}]
    text = skein.ok("consume", topic, "-n", 1, "--template", "%p:%o %k=%v %h%%\\n").out
    assert text == '2:0 alice=one apple [{"name":"source","value":"web"}]%\n'


def test_places_to_begin_at(skein, topic):
    lines = "".join(json.dumps({"value": f"v{n}", "timestamp_ms": 1_000_000 + n}) + "\n" for n in range(10))
    skein.ok("produce", topic, "--format", "json", "-p", 0, input=lines)
    assert skein.ok("consume", topic, "-p", 0, "--from", "7").lines == ["v7", "v8", "v9"]
    assert skein.ok("consume", topic, "--from", "@1000008").lines == ["v8", "v9"]
    assert skein.ok("consume", topic, "--from", "1970-01-01T00:16:40.009Z").lines == ["v9"]
    assert skein.ok("consume", topic, "--from", "end").lines == []
    assert skein.ok("consume", topic, "--from", "-1h").lines == []
    offsets = skein.ok("topic", "offsets", topic, "--at", "@1000004", "-o", "json").json
    assert offsets[0] == {"partition": 0, "log_start_offset": 0, "high_watermark": 10, "offset": 4,
                          "timestamp_ms": 1000004, "error": None}


def test_follow_ends_cleanly_on_a_signal(skein, topic):
    process = skein.start("consume", topic, "--follow")
    skein.ok("produce", topic, "--value", "late")
    assert process.stdout.readline() == b"late\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and out == b"" and err == b""


def test_head_is_no_failure(skein, topic):
    skein.ok("produce", topic, input="x\n" * 50_000)
    process = skein.start("consume", topic)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0 and process.stderr.read() == b""


def test_no_progress_where_nobody_looks(skein, topic):
    process = subprocess.Popen([skein.program, "produce", topic], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=skein.environment)
    process.stdin.write(b"x\n")
    process.stdin.flush()
    time.sleep(1)  # long enough for a line of progress to be due
    out, err = process.communicate(b"x\n" * 2999, timeout=60)
    assert process.returncode == 0 and out == b"" and err.decode() == f"published 3000 records to {topic}\n"


def test_progress_on_a_terminal(skein, topic):
    seen = skein.terminal("bench", "produce", "--topic", topic, "--records", 20000, "--rate", 4000, "--size", 10,
                          until=b" % of 20000 records")
    assert b"/s" in seen


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4", "zstd"])
def test_every_codec_brings_back_what_went_in(skein, topic, codec):
    lines = "".join(f"{n} " + "abc" * 50 + "\n" for n in range(2000))
    skein.ok("produce", topic, "-p", 0, "--compression", codec, input=lines)
    assert skein.ok("consume", topic).out == lines
    size = skein.ok("topic", "describe", topic, "-o", "json").json["size_bytes"]
    assert size > len(lines) if codec == "none" else size < len(lines) / 4
