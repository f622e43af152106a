"""An audit sink: copies a topic into a file, each record exactly once, however often it is started or killed.

The file itself says how far it is: every line carries partition and offset.

    audit_sink.py TOPIC FILE [MAX]
"""

import json
import os
import sys

from bus import Bus


def resume(path):
    """Opens the file behind its last whole line; returns it and the position behind what it holds."""
    file = open(path, "a+b")
    file.seek(0)
    data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    positions = {}
    for line in whole.splitlines():
        entry = json.loads(line)
        positions[entry["partition"]] = max(positions.get(entry["partition"], 0), entry["offset"] + 1)
    # A line that a killed sink wrote half is cut off; its record is read again.
    file.truncate(len(whole))
    return file, positions


def main():
    topic, path = sys.argv[1], sys.argv[2]
    limit = int(sys.argv[3]) if len(sys.argv) > 3 else sys.maxsize
    file, positions = resume(path)
    count = 0
    for partition, record in Bus().read(topic, positions):
        if count == limit:
            break
        line = {"partition": partition, "offset": record.offset, "key": record.key.decode(),
                "value": record.value.decode()}
        file.write(json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        count += 1
    file.flush()
    os.fsync(file.fileno())
    print(f"{count} records of {topic} to {path}")


main()
