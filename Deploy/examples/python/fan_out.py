"""Fan-out: billing learns of placed orders, shipping of paid ones, mail of everything.

    fan_out.py TOPIC                   to TOPIC.billing, TOPIC.shipping and TOPIC.mail
"""

import sys

from bus import Bus, event_of

TARGETS = {"placed": ("billing", "mail"), "paid": ("shipping", "mail"), "shipped": ("mail",)}


def main():
    source = sys.argv[1] if len(sys.argv) > 1 else "orders"
    bus = Bus()
    waiting = {name: [] for name in ("billing", "shipping", "mail")}
    count = 0

    def flush(name):
        if waiting[name]:
            # In the order in which they were read, so the order of a key is kept.
            bus.publish(f"{source}.{name}", waiting[name])
            waiting[name] = []

    for name in waiting:
        bus.create(f"{source}.{name}", partitions=2)
    for _, record in bus.read(source, {}):
        for name in TARGETS[event_of(record.value)]:
            waiting[name].append((record.key, record.value))
            count += 1
            if len(waiting[name]) == 100:
                flush(name)
    for name in waiting:
        flush(name)
    print(f"{count} records from {source} to {', '.join(waiting)}")


main()
