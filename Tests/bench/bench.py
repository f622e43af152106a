#!/usr/bin/env python3
"""Skein against its yardsticks (Tests/bench/run.sh says how to start it).

Each pair runs a yardstick and Skein one after the other, so that what else the machine does hits both.
L = MB/s of h2tls over TLS with 64 KiB messages; S = acknowledged MB/s of writebehind, mode 2;
U = calls/s of h2tls, unary, 32 in flight. Payload is random, no codec, durable topics.
"""
import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RECORD = 1000
RECORDS = int(os.environ.get("SKEIN_BENCH_RECORDS", "1000000"))


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **options)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Yardsticks:
    def __init__(self, folder, work):
        self.bbench = os.path.join(folder, "h2tls/.build/release/BBench")
        self.writebehind = os.path.join(folder, "writebehind")
        self.work = work
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
             f"{work}/key.pem", "-out", f"{work}/cert.pem", "-days", "30", "-subj", "/CN=localhost"])

    @contextlib.contextmanager
    def server(self):
        environment = dict(os.environ, CERT_DIR=self.work)
        process = subprocess.Popen([self.bbench, "server", "tls"], env=environment, stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        try:
            yield environment
        finally:
            process.kill()
            process.wait()

    def link(self):
        """MB/s over TLS, 64 KiB messages."""
        with self.server() as environment:
            text = run([self.bbench, "client", "tls", "65536", "30000"], env=environment)
        return float(re.search(r"(\d+) MB/s", text)[1])

    def unary(self):
        with self.server() as environment:
            text = run([self.bbench, "client", "tls", "1000", "60000", "unary", "32"], env=environment)
        return float(re.search(r"(\d+) msg/s", text)[1])

    def storage(self):
        """Acknowledged MB/s of a journal with write-behind."""
        folder = os.path.join(self.work, "writebehind")
        os.makedirs(folder, exist_ok=True)
        text = run([self.writebehind, "2", "1024"], cwd=folder)
        return float(re.search(r"acked (\d+) MB/s", text)[1])


class Broker:
    def __init__(self, bin, folder):
        self.bin = bin
        self.folder = folder
        self.process = None

    def start(self):
        started = time.monotonic()
        os.makedirs(os.path.dirname(self.folder), exist_ok=True)
        log = open(self.folder + ".log", "a")
        self.process = subprocess.Popen(
            [f"{self.bin}/skeind", "--dev", self.folder, "--listen", "127.0.0.1:0", "--operations", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=log, text=True)
        for line in self.process.stdout:
            if line.startswith("skeind ready"):
                self.address = re.search(r"grpc=(\S+)", line)[1]
                return time.monotonic() - started
        sys.exit(f"bench: the broker did not start; see {self.folder}.log")

    def stop(self):
        if self.process:
            stop(self.process)
            self.process = None

    def resident(self):
        """MB resident."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) / 1000

    def skein(self, *arguments):
        return run([f"{self.bin}/skein", *arguments, "--context", f"{self.folder}/context.yaml"])

    def create(self, topic, partitions):
        self.skein("topic", "create", topic, "--partitions", str(partitions))

    def unary(self, topic, records):
        """Acknowledged calls a second, 32 in flight."""
        host, port = self.address.rsplit(":", 1)
        text = run([f"{self.bin}/CallDriver", host, port, f"{self.folder}/tls", "publish", str(records), "32", topic,
                    str(RECORD)])
        return json.loads(text)["calls_per_second"]

    def refusals(self, topic, calls):
        """Refused calls a second, 64 in flight; ends the bench if one is not refused."""
        host, port = self.address.rsplit(":", 1)
        text = run([f"{self.bin}/CallDriver", host, port, f"{self.folder}/tls", "refusals", str(calls), "64", topic])
        return json.loads(text)["calls_per_second"]

    def bench(self, verb, topic, *more, records=RECORDS, size=RECORD):
        arguments = ["bench", verb, "--topic", topic, "--records", str(records), "--json", *more]
        if verb == "produce":
            arguments += ["--size", str(size)]
        return json.loads(self.skein(*arguments))

    def install(self, name, work):
        """Builds, signs and installs one of our plug-ins; returns ID@VERSION."""
        run([os.path.join(ROOT, "Plugins/build.sh"), f"{work}/plugins", name])
        if not os.path.exists(f"{work}/author.key"):
            run([f"{self.bin}/skein", "plugin", "keygen", f"{work}/author"])
        package = f"{work}/{name}.skeinplug"
        run([f"{self.bin}/skein", "plugin", "pack", f"{work}/plugins/{name}", "--key", f"{work}/author.key", "--to",
             package, "--force"])
        self.skein("plugin", "trust", "add", f"{work}/author.pem")
        self.skein("plugin", "install", package)
        with open(f"{work}/plugins/{name}/manifest.json") as manifest:
            about = json.load(manifest)
        return f"{about['id']}@{about['version']}"


class Figures:
    """Ratios with their bars; prints every run."""

    def __init__(self):
        self.rows = {}

    def add(self, name, bar, ratio, detail):
        self.rows.setdefault(name, (bar, []))[1].append(ratio)
        print(f"  {name}: {detail}, ratio {ratio:.2f}", flush=True)

    def summary(self):
        missed = 0
        print("\nmedian of the pairwise ratios")
        for name, (bar, ratios) in self.rows.items():
            middle = statistics.median(ratios)
            verdict = "met" if middle >= bar else "MISSED"
            missed += middle < bar
            runs = " ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"  {name:42} {middle:5.2f}  bar {bar:.2f}  {verdict}   runs: {runs}")
        return missed


def throughput(options, work, figures):
    yardsticks = Yardsticks(options.yardsticks, work)
    parts = options.parts
    for pair in range(1, options.pairs + 1):
        print(f"pair {pair} of {options.pairs}", flush=True)
        link = yardsticks.link() if {"produce", "consume"} & parts else 0
        if {"produce", "consume"} & parts:
            with fresh_broker(options, work) as broker:
                broker.create("eight", 8)
                made = broker.bench("produce", "eight")
                if "produce" in parts:
                    storage = yardsticks.storage()
                    rate = made["megabytes_per_second"]
                    least = min(link, storage)
                    figures.add("produce / min(L, S)", 0.4, rate / least,
                                f"{rate:.0f} MB/s ({made['records_per_second']:.0f} records/s, ack p50 "
                                f"{made['latency_us']['p50'] / 1000:.1f} p99 {made['latency_us']['p99'] / 1000:.1f} ms)"
                                f" to L {link:.0f}, S {storage:.0f}")
                if "consume" in parts:
                    read = broker.bench("consume", "eight")
                    rate = read["megabytes_per_second"]
                    figures.add("consume / L", 0.6, rate / link,
                                f"{rate:.0f} MB/s ({read['records_per_second']:.0f} records/s) to L {link:.0f}")
        if "unary" in parts:
            base = yardsticks.unary()
            with fresh_broker(options, work) as broker:
                broker.create("unary", 8)
                rate = broker.unary("unary", 60000)
            figures.add("unary durable Publish, 32 in flight / U", 0.4, rate / base, f"{rate:.0f}/s to U {base:.0f}/s")
        if "partitions" in parts:
            with fresh_broker(options, work) as broker:
                broker.create("eight", 8)
                eight = broker.bench("produce", "eight")["megabytes_per_second"]
            with fresh_broker(options, work) as broker:
                broker.create("thousand", 1000)
                thousand = broker.bench("produce", "thousand")["megabytes_per_second"]
            figures.add("1,000 partitions / 8 partitions", 0.25, thousand / eight,
                        f"{thousand:.0f} MB/s to {eight:.0f} MB/s")


def assign(options, work, figures):
    """A topic whose partitioner is a plug-in in a child, beside one with a built-in, on the same broker."""
    for size in (1000, 100):
        records = RECORDS if size == 1000 else 3 * RECORDS
        for pair in range(1, options.pairs + 1):
            print(f"pair {pair} of {options.pairs}, {size} B", flush=True)
            with fresh_broker(options, work) as broker:
                plugin = broker.install("consistent-hash", work)
                broker.skein("topic", "create", "built-in", "--partitions", "8")
                broker.skein("topic", "create", "plug-in", "--partitions", "8", "--partitioner", plugin)
                # A B B A: what the disk still does for one run is not always the other's burden.
                one, other = ("built-in", "plug-in") if pair % 2 else ("plug-in", "built-in")
                done = {one: [], other: []}
                for topic in (one, other, other, one):
                    os.sync()
                    done[topic].append(
                        broker.bench("produce", topic, "--keys", "random", records=records // 2, size=size))
            rate = {topic: sum(run["records_per_second"] for run in runs) / 2 for topic, runs in done.items()}
            ack = {topic: max(run["latency_us"]["p99"] for run in runs) / 1000 for topic, runs in done.items()}
            figures.add(f"plug-in in a child / built-in, {size} B", 0.9, rate["plug-in"] / rate["built-in"],
                        f"{rate['plug-in']:.0f}/s to {rate['built-in']:.0f}/s, ack p99 {ack['plug-in']:.1f} to"
                        f" {ack['built-in']:.1f} ms")


def groups(options, work, figures):
    """The only member of a group, with automatic commits, beside a reader of the same topic."""
    for pair in range(1, options.pairs + 1):
        print(f"pair {pair} of {options.pairs}", flush=True)
        with fresh_broker(options, work) as broker:
            broker.create("eight", 8)
            broker.bench("produce", "eight")
            # What was written is on the disk, and was read once: both find the same.
            os.sync()
            broker.bench("consume", "eight")
            ways = {"reader": [], "group": ["--group", "bench"]}
            done = {}
            # Each is the first one every other time.
            for way in sorted(ways, reverse=pair % 2 == 1):
                done[way] = broker.bench("consume", "eight", *ways[way])
        rate = {way: result["megabytes_per_second"] for way, result in done.items()}
        figures.add("consume as a group's member / reader", 0.8, rate["group"] / rate["reader"],
                    f"{rate['group']:.0f} MB/s ({done['group']['records_per_second']:.0f} records/s) to"
                    f" {rate['reader']:.0f} MB/s")


@contextlib.contextmanager
def fresh_broker(options, work):
    """A broker in a new folder, so that no run pays for what another left behind."""
    folder = tempfile.mkdtemp(dir=work)
    broker = Broker(options.bin, f"{folder}/broker")
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def idle(options, work):
    print("idle", flush=True)
    missed = 0

    def figure(name, value, unit, bar):
        nonlocal missed
        verdict = "met" if value <= bar else "MISSED"
        missed += value > bar
        print(f"  {name:42} {value:6.1f} {unit}  bar {bar} {unit}  {verdict}", flush=True)

    broker = Broker(options.bin, f"{work}/idle")
    first = broker.start()
    print(f"  first start, making certificates and journal: {first:.2f} s")
    broker.stop()
    broker.start()
    time.sleep(2)
    empty = broker.resident()
    figure("resident, idle", empty, "MB", 60)
    for number in range(10):
        broker.create(f"idle-{number}", 1000)
    broker.stop()
    seconds = broker.start()
    time.sleep(2)
    figure("10,000 idle partitions add", broker.resident() - empty, "MB", 100)
    figure("start with 10,000 idle partitions", seconds, "s", 3)
    broker.stop()
    return missed


def refusals(options, work):
    """Bad input in a loop of a million leaves the broker's memory where it was."""
    calls = int(os.environ.get("SKEIN_REFUSALS", "1000000"))
    with fresh_broker(options, work) as broker:
        broker.create("t", 1)
        broker.refusals("t", min(calls, 100_000))
        before = broker.resident()
        rate = broker.refusals("t", calls)
        grown = broker.resident() - before
    verdict = "met" if grown <= 8 else "MISSED"
    print(f"  {calls} refused calls, {rate:.0f}/s: resident {before:.1f} MB, grew by {grown:.1f} MB  bar 8 MB  {verdict}", flush=True)
    return grown > 8


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--yardsticks", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parts", type=lambda text: set(text.split(",")), required=True)
    options = parser.parse_args()
    cores = os.cpu_count()
    print(f"{cores} cores, {RECORDS} records of {RECORD} B a run, load average {os.getloadavg()[0]:.1f}", flush=True)
    work = tempfile.mkdtemp(prefix="skein-bench.")
    figures = Figures()
    try:
        missed = 0
        if "refusals" in options.parts:
            missed += refusals(options, work)
        if options.parts - {"idle", "refusals", "assign", "groups"}:
            throughput(options, work, figures)
        if "assign" in options.parts:
            assign(options, work, figures)
        if "groups" in options.parts:
            groups(options, work, figures)
        if figures.rows:
            missed += figures.summary()
        if "idle" in options.parts:
            missed += idle(options, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print("every bar is met" if not missed else f"{missed} bars are missed")
    sys.exit(1 if missed else 0)


main()
