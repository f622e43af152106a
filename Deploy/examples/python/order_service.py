"""An order service: three events of each order, once and in this order.

    order_service.py TOPIC [ORDERS]
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from bus import Bus


def work_on(bus, topic, number):
    """One order, from its placing to its shipping: each event is durable before the next is sent."""
    order = f"order-{number}"
    for event in ("placed", "paid", "shipped"):
        value = json.dumps({"order": order, "event": event, "cents": 100 + number})
        # The key is the order: its events stay in one partition, in order.
        bus.publish(topic, [(order.encode(), value.encode())])


def main():
    topic = sys.argv[1] if len(sys.argv) > 1 else "orders"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    bus = Bus()
    bus.create(topic, partitions=4)
    with ThreadPoolExecutor(max_workers=32) as workers:
        list(workers.map(lambda number: work_on(bus, topic, number), range(count)))
    print(f"published {count * 3} events of {count} orders to {topic}")


main()
