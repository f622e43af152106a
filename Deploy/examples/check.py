"""Checks what the audit sinks wrote: counts, each record once, each order's events in order, and that the sink in
Swift and the sink in Python saw the same.

Of the workers of a group: that together they saw each record, at least once, and each of them a partition's in order.

    check.py DIR ORDERS              ends with "N passed, N failed"
    check.py --worked DIR ORDERS     exit code 0 when the workers are through
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

EVENTS = {"": ["placed", "paid", "shipped"], ".billing": ["placed"], ".shipping": ["paid"],
          ".mail": ["placed", "paid", "shipped"]}


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def problems(lines, orders, expected):
    """What is wrong with one topic's records."""
    places = {(line["partition"], line["offset"]) for line in lines}
    if len(places) != len(lines):
        yield f"{len(lines) - len(places)} records twice"
    if len(lines) != orders * len(expected):
        yield f"{len(lines)} records, not {orders * len(expected)}"
    events, homes = defaultdict(list), defaultdict(set)
    for line in sorted(lines, key=lambda line: (line["partition"], line["offset"])):
        value = json.loads(line["value"])
        if line["key"] != value["order"]:
            yield f"key {line['key']} of {value['order']}"
        events[line["key"]].append(value["event"])
        homes[line["key"]].add(line["partition"])
    for order, seen in events.items():
        if seen != expected:
            yield f"{order}: {seen}, not {expected}"
        if len(homes[order]) != 1:
            yield f"{order} is in partitions {sorted(homes[order])}"


def unworked(folder, orders):
    """What the workers left undone, or did out of order."""
    seen = set()
    for path in sorted(folder.glob("worker.*.jsonl")):
        # A worker that was killed may have left half a line, of a record that another did then.
        lines = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
        last = {}
        for partition, offset, _, _ in lines:
            if offset <= last.get(partition, -1):
                yield f"{path.name}: offset {offset} of partition {partition} after {last[partition]}"
            last[partition] = offset
        seen |= {(partition, offset) for partition, offset, _, _ in lines}
    if len(seen) != orders * 3:
        yield f"{len(seen)} records of {orders * 3}"


def main():
    if sys.argv[1] == "--worked":
        sys.exit(1 if list(unworked(Path(sys.argv[2]), int(sys.argv[3]))) else 0)
    folder, orders = Path(sys.argv[1]), int(sys.argv[2])
    passed = failed = 0

    def note(name, found):
        nonlocal passed, failed
        found = list(found)
        if found:
            failed += 1
            print(f"  {name}: FAILED: " + "; ".join(found[:3]))
        else:
            passed += 1

    for maker in ("swift", "python"):
        for suffix, expected in EVENTS.items():
            topic = f"orders-{maker}{suffix}"
            by = {sink: entries(folder / f"{topic}.{sink}.jsonl") for sink in ("swift", "python")}
            for sink, lines in by.items():
                note(f"{topic} by the sink in {sink}", problems(lines, orders, expected))

            def whole(lines):
                return sorted(json.dumps(line, sort_keys=True) for line in lines)
            note(f"{topic}: both sinks alike", [] if whole(by["swift"]) == whole(by["python"]) else ["they differ"])
    note("the workers of a group", unworked(folder, orders))
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
