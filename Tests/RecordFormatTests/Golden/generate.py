#!/usr/bin/env python3
"""Writes the golden files of this folder with kafka-python, an implementation that is not ours.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install kafka-python==3.0.12 zstandard==0.25.0 \
        lz4==4.4.5 python-snappy==0.7.3 cramjam==2.14.0
    /tmp/golden/bin/python generate.py

NAME.bin is what its batch builder made. NAME.json is what its parser says about those bytes; so the
expectations, too, come from there. Bytes are hexadecimal, null stays null. Files made by a
codec may differ in bytes from one library version to the next; the records in them may not.
"""
import json
import pathlib
import struct

import kafka
import lz4.frame
import snappy
from kafka.partitioner import murmur2
from kafka.record import default_records
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

HERE = pathlib.Path(__file__).parent
T = 1_700_000_000_000
NONE, GZIP, SNAPPY, LZ4, ZSTD = 0, 1, 2, 3, 4


def build(records, codec=NONE, transactional=False, producer=(-1, -1, -1)):
    builder = DefaultRecordBatchBuilder(2, codec, transactional, *producer, batch_size=1 << 24)
    for offset, (timestamp, key, value, headers) in enumerate(records):
        assert builder.append(offset, timestamp, key, value, headers) is not None
    return bytearray(builder.build())


def stamped(batch, base_offset, leader_epoch, attributes=0):
    """What a broker does to a batch: place, epoch, and (for its own batches) attribute bits."""
    struct.pack_into(">q", batch, 0, base_offset)
    struct.pack_into(">i", batch, 12, leader_epoch)
    if attributes:
        (old,) = struct.unpack_from(">h", batch, 21)
        struct.pack_into(">h", batch, 21, old | attributes)
        struct.pack_into(">I", batch, 17, calc_crc32c(memoryview(batch)[21:]))
    return batch


def hexed(data):
    return None if data is None else bytes(data).hex()


def described(data):
    batch = DefaultRecordBatch(data)
    assert batch.validate_crc()
    fields = {
        "base_offset": batch.base_offset, "size": batch.size_in_bytes,
        "leader_epoch": batch.leader_epoch, "crc": batch.crc, "attributes": batch.attributes,
        "last_offset_delta": batch.last_offset_delta, "base_timestamp": batch.first_timestamp,
        "max_timestamp": batch.max_timestamp, "producer_id": batch.producer_id,
        "producer_epoch": batch.producer_epoch, "base_sequence": batch.base_sequence,
        "last_sequence": batch.last_sequence, "next_offset": batch.next_offset,
        "count": batch.records_count, "control": batch.is_control_batch,
        "transactional": batch.is_transactional, "codec": batch.compression_type,
    }
    fields["records"] = [
        {"offset": r.offset, "timestamp": r.timestamp, "key": hexed(r.key), "value": hexed(r.value),
         "headers": [[n.encode().hex(), hexed(v)] for n, v in r.headers]}
        for r in batch
    ]
    return fields


def write(name, batches):
    data = b"".join(bytes(b) for b in batches)
    (HERE / f"{name}.bin").write_bytes(data)
    text = {"origin": f"kafka-python {kafka.__version__}", "batches": [described(b) for b in batches]}
    (HERE / f"{name}.json").write_text(json.dumps(text, indent=1) + "\n")


def numbered(count, size):
    return [(T + i, b"key-%d" % (i % 7), (b"value %d " % i * size)[:size], []) for i in range(count)]


mixed_headers = [
    (T, b"k", b"v", [("trace", b"\x00\x01\xff"), ("trace", b"again"), ("empty", b""), ("null", None)]),
    (T + 1, None, None, [("", b"a header without a name"), ("größe-大", b"non-ASCII name")]),
    (T + 2, b"", b"", []),
    (T + 3, b"k", b"v", [("h%d" % i, b"x" * i) for i in range(40)]),
]

write("single", [build([(T, b"key", b"value", [])])])
write("nulls", [build([(T, None, b"v", []), (T, b"k", None, []), (T, None, None, []), (T, b"", b"v", []),
                       (T, b"k", b"", []), (T, b"", b"", [])])])
write("headers", [build(mixed_headers)])
write("timestamps", [build([(T, b"a", b"1", []), (T - 1, b"b", b"2", []), (T - 64, b"c", b"3", []),
                            (T - 65, b"d", b"4", []), (T + 8191, b"e", b"5", []), (T + 8192, b"f", b"6", []),
                            (0, b"g", b"7", []), (T * 1000, b"h", b"8", []), (T, b"i", b"9", [])])])
write("lengths", [build([(T, b"k" * n, b"v" * (n * 3 % 400), []) for n in (1, 62, 63, 64, 65, 127, 128)]
                        + [(T, None, bytes(range(256)) * 33, [])])])
write("idempotent", [build(numbered(5, 20), producer=(4_000_000_000_123, 32767, 2147483645))])
write("transactional", [build(numbered(3, 20), transactional=True, producer=(17, 3, 100))])
write("many", [build(numbered(300, 12))])
write("gzip", [build(numbered(120, 60), GZIP, producer=(9, 0, 0))])
write("zstd", [build(numbered(120, 60), ZSTD, producer=(9, 0, 120))])
write("gzip-headers", [build(mixed_headers * 8, GZIP)])
write("zstd-headers", [build(mixed_headers * 8, ZSTD)])
write("lz4", [build(numbered(120, 60), LZ4, producer=(9, 0, 240))])
write("lz4-headers", [build(mixed_headers * 8, LZ4)])


def with_codec(name, encode):
    """kafka-python's builder with another way to compress, as other clients have."""
    original = getattr(default_records, name)
    setattr(default_records, name, lambda data: encode(bytes(data)))
    return lambda: setattr(default_records, name, original)


# python-lz4's own defaults: linked blocks, which Kafka's Java reader refuses but other writers make.
restore = with_codec("lz4_encode", lambda data: lz4.frame.compress(
    data, block_linked=True, block_size=lz4.frame.BLOCKSIZE_MAX64KB, content_checksum=True, store_size=True))
write("lz4-linked", [build(numbered(9, 9000), LZ4)])
restore()
# As snappy-java frames it (kafka-python's default), in several blocks; and one raw block, as librdkafka does.
write("snappy-xerial", [build(numbered(8, 9000), SNAPPY)])
write("snappy-headers", [build(mixed_headers * 8, SNAPPY)])
restore = with_codec("snappy_encode", snappy.compress)
write("snappy-raw", [build(numbered(120, 60), SNAPPY)])
restore()
write("append-time", [stamped(build(numbered(4, 20)), 77, 5, 0x08)])
write("control", [stamped(build([(T, struct.pack(">hh", 0, 1), struct.pack(">hi", 0, 0), [])],
                                producer=(17, 3, -1)), 99, 5, 0x30)])
write("run", [stamped(build(numbered(3, 30)), 1000, 1), stamped(build(numbered(40, 30), ZSTD), 1003, 1),
              stamped(build(numbered(1, 0)), 1043, 2), stamped(build(numbered(40, 30), GZIP), 1044, 2)])

# Skein's own frame (Docs/formats/frame.md), packed here from its byte table for the `single` batch at offset
# 1,234,567 and epoch 8: topic id, partition, 52 bytes and the batch's CRC go into the checksum in this order.
single = stamped(bytearray((HERE / "single.bin").read_bytes()), 1_234_567, 8)
(batch_crc,) = struct.unpack_from(">I", single, 17)
frame = struct.pack(">IBBHiIqqqiiI", 0x534B4652, 1, 0, 0, len(single), 0, 1_234_567, 1_700_000_123_456, T, 0, 8, 3)
place = struct.pack(">QQi", 0x0123456789ABCDEF, 0xFEDCBA9876543210, 5)
checksum = calc_crc32c(memoryview(place + frame + struct.pack(">I", batch_crc)))
(HERE / "frame.bin").write_bytes(frame + struct.pack(">I", checksum) + bytes(single))

keys = [b"", b"a", b"ab", b"abc", b"abcd", b"abcde", b"21", b"foobar", b"a-little-bit-long-string",
        b"a-little-bit-longer-string", b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", "größe-大".encode(),
        bytes(range(256)), b"\x00", b"\xff\xff\xff", b"\x80" * 7] + [b"key-%d" % i for i in range(100)]
vectors = [{"key": k.hex(), "hash": murmur2(k), "partitions": {n: (murmur2(k) & 0x7fffffff) % n for n in (1, 2, 7, 12, 1000)}}
           for k in keys]
text = {"origin": f"kafka-python {kafka.__version__}", "vectors": vectors}
(HERE / "murmur2.json").write_text(json.dumps(text) + "\n")
