#!/usr/bin/env python3
"""Checks the demo's result with code that shares nothing with Skein.

check_demo.py INPUT.tsv OUTPUT.json   every record of the input is in the output exactly once, with its
                                      bytes, and the records of each key are in the order of the input
check_demo.py --lag OUTPUT.json METRICS   end lag per partition, from the broker's own metrics; must be 0
"""
import collections
import json
import re
import sys


def consumed(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def fail(text):
    print(f"FAILED: {text}")
    sys.exit(1)


def check(source, output):
    expected = collections.defaultdict(list)
    count = 0
    with open(source, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            key, value = line.rstrip("\n").split("\t", 1)
            expected[key].append(value)
            count += 1
    records = consumed(output)
    if len(records) != count:
        fail(f"{count} records went in, {len(records)} came out")
    got = collections.defaultdict(list)
    partitions = {}
    offsets = collections.defaultdict(list)
    for record in records:
        got[record["key"]].append(record["value"])
        if partitions.setdefault(record["key"], record["partition"]) != record["partition"]:
            fail(f"key {record['key']!r} lies in two partitions")
        offsets[record["partition"]].append(record["offset"])
    for key, values in expected.items():
        if got[key] != values:
            fail(f"key {key!r}: the sequence that came out differs from the one that went in")
    for partition, seen in offsets.items():
        if seen != list(range(len(seen))):
            fail(f"partition {partition}: offsets are not dense and in order")
    print(f"{count} records in, {len(records)} out; {len(expected)} keys, each sequence equal to the source; "
          f"{len(offsets)} partitions, offsets dense")


def lag(output, metrics):
    read = collections.Counter(record["partition"] for record in consumed(output))
    total = 0
    text = open(metrics, encoding="utf-8").read()
    pattern = r'^skein_partition_high_watermark\{([^}]*)\} (\d+)$'
    found = 0
    for labels, value in re.findall(pattern, text, re.M):
        fields = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if fields.get("topic") != "dpkg":
            continue
        found += 1
        partition = int(fields["partition"])
        behind = int(value) - read[partition]
        print(f"  partition {partition}: high watermark {value}, read {read[partition]}, lag {behind}")
        total += behind
    if not found:
        fail("the metrics name no partition of the topic")
    if total:
        fail(f"the lag is {total}, not 0")


if sys.argv[1] == "--lag":
    lag(sys.argv[2], sys.argv[3])
else:
    check(sys.argv[1], sys.argv[2])
