#!/usr/bin/env python3
"""A thousand streams of each kind that ask for everything and take nothing, against a real broker: its memory
stays within the budget, publishers go on, and a reader that granted one message gets one batch.

    Tests/limits/stalled_streams.py BIN_FOLDER     (skeind, skein, CallDriver of a release build)

SKEIN_STALLED_STREAMS and SKEIN_STALLED_SECONDS set their number (1000) and how long readers stall (60).
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import shutil

BUDGET = 256 << 20
STREAMS = int(os.environ.get("SKEIN_STALLED_STREAMS", "1000"))
SECONDS = int(os.environ.get("SKEIN_STALLED_SECONDS", "60"))
passed = failed = 0


def check(name, holds, detail):
    global passed, failed
    passed += bool(holds)
    failed += not holds
    print(f"{'ok  ' if holds else 'FAIL'} {name}: {detail}", flush=True)


def main(bin):
    work = tempfile.mkdtemp(prefix="skein-limits.")
    broker = subprocess.Popen(
        [f"{bin}/skeind", "--dev", f"{work}/b", "--listen", "127.0.0.1:0", "--operations", "127.0.0.1:0",
         "--set", f"memory.budget-bytes={BUDGET}", "--set", "journal.bytes=67108864"],
        stdout=subprocess.PIPE, stderr=open(f"{work}/log", "w"), text=True)
    try:
        for line in broker.stdout:
            if line.startswith("skeind ready"):
                address = re.search(r"grpc=(\S+)", line)[1]
                break
        else:
            sys.exit("the broker did not start: " + open(f"{work}/log").read())
        host, port = address.rsplit(":", 1)

        def skein(*words):
            return subprocess.run([f"{bin}/skein", *words, "--context", f"{work}/b/context.yaml"], check=True,
                                  capture_output=True, text=True, timeout=120).stdout

        def resident(field="VmRSS"):
            with open(f"/proc/{broker.pid}/status") as status:
                return int(re.search(field + r":\s+(\d+) kB", status.read())[1]) * 1024

        def driver(*words):
            return [f"{bin}/CallDriver", host, port, f"{work}/b/tls", *map(str, words)]

        # More than the tail cache holds, so that most reads come from files and have memory of their own.
        skein("topic", "create", "t", "--partitions", "1", "--set", "segment.bytes=16777216")
        skein("bench", "produce", "--topic", "t", "--records", "300000", "--size", "1000")
        # The readers stall longest: the one that granted a single message watches for all that time.
        for kind, seconds in (("read", SECONDS), ("publish", 30), ("watch-cluster", 10), ("watch-health", 5)):
            before = resident()
            open(f"/proc/{broker.pid}/clear_refs", "w").write("5")  # VmHWM begins anew
            stalled = subprocess.Popen(driver("stalled", STREAMS, seconds, "t", kind), stdout=subprocess.PIPE, text=True)
            try:
                stalled.wait(min(20, seconds / 2))
            except subprocess.TimeoutExpired:
                pass
            if kind == "watch-cluster":  # something to tell them
                for number in range(20):
                    skein("topic", "create", f"watched-{number}", "--partitions", "1")
            # Publishing beside them, while they stall.
            published = subprocess.run(driver("publish", 2000, 64, "t", 100000), capture_output=True, text=True, timeout=120)
            check(f"{kind}: publishers go on", published.returncode == 0,
                  published.stdout.strip() + published.stderr.strip()[-300:])
            out, _ = stalled.communicate(timeout=seconds + 60)
            peak = resident("VmHWM")
            seen = json.loads(out)
            check(f"{kind}: memory stays within budget + 25 %", peak <= before + BUDGET * 1.25,
                  f"{before / 1e6:.0f} MB before, at most {peak / 1e6:.0f} MB with {STREAMS} stalled streams; budget {BUDGET / 1e6:.0f} MB")
            check(f"{kind}: what they cannot have yet is put off, not refused", seen["errors"] == 0, out.strip())
            check(f"{kind}: they were served first", seen["that_got_messages"] > 0, out.strip())
            check(f"{kind}: one message granted is one batch sent", seen["batches_for_one_credit"] == 1, out.strip())
        records = skein("bench", "consume", "--topic", "t", "--records", "100000", "--json")
        check("a reader that takes is served afterwards", json.loads(records)["records"] >= 100000, records.strip()[:200])
    finally:
        broker.terminate()
        broker.wait(60)
        if failed:
            print(open(f"{work}/log").read()[-3000:])
        shutil.rmtree(work, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main(sys.argv[1])
