"""Measurements: their keys, and that they see what they count. Never how fast anything is."""

import json
import os
import signal
import time

import pytest

KEYS = {"records", "bytes", "seconds", "records_per_second", "megabytes_per_second", "latency_us"}
LATENCY = {"p50", "p90", "p99", "p999", "p9999", "max"}


def well_formed(report, records, size):
    assert KEYS <= set(report) and set(report["latency_us"]) == LATENCY
    assert report["records"] == records and report["bytes"] == records * size
    latency = list(report["latency_us"].values())
    assert latency == sorted(latency) and latency[0] > 0
    assert report["records_per_second"] == pytest.approx(records / report["seconds"], rel=0.01)


def test_produce_counts_nothing_of_the_warm_up(skein, topic):
    report = skein.ok("bench", "produce", "--topic", topic, "--records", 2000, "--size", 100, "--warm-up", "0.2",
                      "--rate", 5000, "--json").json
    well_formed(report, 2000, 100)
    assert report["seconds"] > 0.35
    stored = skein.ok("topic", "describe", topic, "-o", "json").json["records"]
    assert stored > 2000  # the warm-up's are there, and were not counted
    report = skein.ok("bench", "consume", "--topic", topic, "--json").json
    assert report["records"] == stored


def test_latency_is_measured_from_when_a_record_was_due(skein, topic):
    well_formed(skein.ok("bench", "latency", "--topic", topic, "--records", 300, "--rate", 1000, "--json").json, 300, 1000)


def test_a_stalled_broker_is_seen_by_an_open_loop(skein, topic, broker):
    """The broker stands still for a while: every record due in it waits, and the percentiles say so."""
    process = skein.start("bench", "mixed", "--topic", topic, "--rate", 500, "--seconds", 4,
                          "--buffer-bytes", 65536, "--producers", 1, "--json")
    while skein.ok("topic", "list", topic, "--detailed", "-o", "json").json[0]["records"] < 50:
        assert process.poll() is None
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        time.sleep(1.5)
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    report = json.loads(out)
    # Three of eight records were due while it stood. The producer's buffer holds only some 60 of them: measured
    # from when they were handed over, the rest would look quick.
    assert report["records"] == 2000 and report["missing"] == 0 and report["repeated"] == 0
    assert report["latency_us"]["p90"] > 200_000 and report["ack_latency_us"]["p90"] > 200_000


def test_mixed_gives_every_reader_every_record_once(skein, topic):
    report = skein.ok("bench", "mixed", "--topic", topic, "--producers", 3, "--readers", 2, "--rate", 2000,
                      "--seconds", 1, "--size", 64, "--json").json
    well_formed(report, 2000, 64)
    assert set(report["ack_latency_us"]) == LATENCY
    assert (report["failed"], report["missing"], report["repeated"]) == (0, 0, 0)
    table = skein.ok("bench", "mixed", "--topic", topic, "--rate", 500, "--seconds", 0.2).out
    assert "P99.99" in table and "end to end" in table


@pytest.mark.parametrize("arguments", [
    ["produce", "--records", "0"], ["consume", "--records", "0"], ["latency", "--size", "8"],
    ["mixed", "--rate", "0"], ["mixed", "--seconds", "0"], ["mixed", "--producers", "0"], ["mixed", "--warm-up", "-1"],
])
def test_wrong_amounts_are_usage(skein, arguments):
    result = skein.run("bench", arguments[0], "--topic", "t", *arguments[1:])
    assert result.code == 2 and result.out == ""
