#!/usr/bin/env python3
"""What groups cost a real broker: durable commits a second through the default store; many groups with a few members
each, and one group with many: memory, CPU of their heartbeats, time until one more member has its share.

    Tests/limits/groups.py BIN_FOLDER            the figures and their bars (`make group-bench`)
    Tests/limits/groups.py BIN_FOLDER --small    the same paths in seconds, no bar of speed (`Tests/run-all.sh limits`)

SKEIN_GROUP_PARTS=commits,members,wide chooses. BIN_FOLDER has skeind and CallDriver of a release build.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

PARTITIONS = 12
BAR = 20_000
PARTS = os.environ.get("SKEIN_GROUP_PARTS", "commits,members,wide").split(",")
passed = failed = 0


def check(name, holds, detail):
    global passed, failed
    passed += bool(holds)
    failed += not holds
    print(f"{'ok  ' if holds else 'FAIL'} {name}: {detail}", flush=True)


class Broker:
    def __init__(self, bin):
        self.bin = bin
        self.work = tempfile.mkdtemp(prefix="skein-groups.")
        self.process = subprocess.Popen(
            [f"{bin}/skeind", "--dev", f"{self.work}/b", "--listen", "127.0.0.1:0", "--operations", "127.0.0.1:0",
             "--set", "journal.bytes=268435456", "--set", "disk.reserve-bytes=67108864"],
            stdout=subprocess.PIPE, stderr=open(f"{self.work}/log", "w"), text=True)
        for line in self.process.stdout:
            if line.startswith("skeind ready"):
                self.address = re.search(r"grpc=(\S+)", line)[1]
                break
        else:
            sys.exit("the broker did not start: " + open(f"{self.work}/log").read())

    def call(self, method, path, body=None):
        """JSON over HTTP/2, with curl: Python's own client speaks HTTP/1 only."""
        tls = f"{self.work}/b/tls"
        words = ["curl", "-sS", "--fail-with-body", "--max-time", "60", "--cacert", f"{tls}/ca.pem", "--cert",
                 f"{tls}/admin.pem", "--key", f"{tls}/admin.key", "-X", method, f"https://{self.address}{path}"]
        if body:
            words += ["-H", "content-type: application/json", "--data-binary", "@-"]
        answer = subprocess.run(words, input=json.dumps(body) if body else None, capture_output=True, text=True)
        if answer.returncode:
            sys.exit(f"{method} {path}: {answer.stdout} {answer.stderr}")
        return json.loads(answer.stdout)

    def driver(self, *words):
        host, port = self.address.rsplit(":", 1)
        return [f"{self.bin}/CallDriver", host, port, f"{self.work}/b/tls", *map(str, words)]

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        shutil.rmtree(self.work, ignore_errors=True)


def commits(bin, small):
    """64 groups without members commit from the log's start on: every commit is another offset, and is stored."""
    calls = 2_000 if small else 20_000
    broker = Broker(bin)
    try:
        broker.call("POST", "/v1/topics", {"name": "t", "partitions": PARTITIONS})
        for partition in range(PARTITIONS):
            broker.call("POST", "/v1/topics/t/records",
                        {"records": [{"value": "eA==", "partition": partition}] * (calls // 64 + 2)})
        best = 0
        for offsets in (PARTITIONS, 1):
            text = subprocess.run(broker.driver("commits", calls, 256, "t", offsets), capture_output=True, text=True,
                                  timeout=300)
            answer = json.loads(text.stdout) if text.returncode == 0 else {}
            rate = answer.get("calls_per_second", 0)
            best = max(best, rate * offsets)
            check(f"commits of {offsets} offset(s)", rate > 0,
                  f"{calls} calls, 256 in flight, all durable: {rate:,.0f} calls/s, {rate * offsets:,.0f} offsets/s")
            if offsets > 1:
                stored = broker.call("GET", "/v1/groups/bench-0/offsets")["offsets"]
                check("what was committed is there", len(stored) == PARTITIONS, f"{len(stored)} offsets of bench-0")
                # The next run begins at the log's start again, which is below.
                for group in range(64):
                    broker.call("DELETE", f"/v1/groups/bench-{group}")
        if not small:
            check("durable commits a second", best >= BAR, f"{best:,.0f}; bar {BAR:,}")
    finally:
        broker.stop()


def members(bin, groups, each, partitions, seconds):
    """Groups whose members read nothing; then one more member joins each of some groups. Bytes they took."""
    broker = Broker(bin)
    count = groups * each
    name = f"{groups} group(s) of {each} member(s), {partitions} partitions"
    try:
        broker.call("POST", "/v1/topics", {"name": "t", "partitions": partitions})
        before, grown, begun, phases = broker.resident(), 0, 0, []
        driver = subprocess.Popen(broker.driver("members", groups, seconds, "t", each), stdout=subprocess.PIPE, text=True)
        for line in driver.stdout:
            if not line.startswith("{"):
                # At its end the driver closes the connections, and every stream says so.
                if "rebalanced" not in phases:
                    print(line.strip(), flush=True)
                continue
            answer = json.loads(line)
            phases.append(answer["phase"])
            if answer["phase"] == "joined":
                begun = broker.cpu()
                grown = broker.resident() - before
                check(f"{name}: all joined", True, f"{answer['seconds']:.2f} s; {grown / 2**20:,.0f} MiB, "
                      f"{grown / count / 1024:,.1f} KiB a member with stream, connection and share of its group")
            if answer["phase"] == "held":
                used = broker.cpu() - begun
                beats = answer["heartbeats_answered"]
                check(f"{name}: all stay", answer["open"] == count,
                      f"{seconds} s, {used / seconds * 100:.1f} % of one core, {beats} heartbeats answered")
            if answer["phase"] == "rebalanced":
                check(f"{name}: one more member has its share", True,
                      f"median {answer['median_seconds'] * 1e3:.0f} ms, worst {answer['worst_seconds'] * 1e3:.0f} ms")
        status = driver.wait()
        check(f"{name}: driver", status == 0 and phases == ["joined", "held", "rebalanced"], f"status {status}")
        return grown
    finally:
        broker.stop()


def main(bin, small):
    if "commits" in PARTS:
        commits(bin, small)
    if "members" in PARTS and small:
        members(bin, 20, 3, PARTITIONS, 1)
    elif "members" in PARTS:
        alone = members(bin, 1_000, 1, PARTITIONS, 1)
        many = members(bin, 1_000, 5, PARTITIONS, 30)
        member = (many - alone) / 4_000
        print(f"a further member of a group: {member / 1024:,.1f} KiB; a group with its first: {alone / 1_000 / 1024:,.1f} KiB",
              flush=True)
    if "wide" in PARTS and not small:
        members(bin, 1, 4_900, 4_999, 30)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--small"]):
        sys.exit(__doc__)
    main(os.path.abspath(sys.argv[1]), len(sys.argv) == 3)
