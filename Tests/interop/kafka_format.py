"""Kafka's record batches through kafka-python, which shares nothing with Skein's code."""

from kafka.partitioner import murmur2
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

CODECS = {"none": 0, "gzip": 1, "zstd": 4}


def encode(records, codec="none", producer_id=-1, epoch=-1, sequence=-1, timestamp=1_700_000_000_000):
    """One batch of (key, value) or (key, value, headers)."""
    builder = MemoryRecordsBuilder(
        magic=2, compression_type=CODECS[codec], batch_size=32 << 20, producer_id=producer_id,
        producer_epoch=epoch, base_sequence=sequence)
    for index, (key, value, *headers) in enumerate(records):
        added = builder.append(timestamp + index, key, value, headers[0] if headers else [])
        assert added is not None
    builder.close()
    return bytes(builder.buffer())


def decode(data):
    """The records of concatenated batches, each batch's CRC checked; and the batches."""
    records, batches = [], []
    memory = MemoryRecords(data)
    while memory.has_next():
        batch = memory.next_batch()
        assert batch.magic == 2
        assert batch.validate_crc(), "kafka-python finds the CRC wrong"
        batches.append(batch)
        records.extend(batch)
    assert memory.valid_bytes() == len(data), "the bytes are not whole batches"
    return records, batches


def partition(key, count):
    """The partition of Kafka's default partitioner."""
    return (murmur2(key) & 0x7FFFFFFF) % count
