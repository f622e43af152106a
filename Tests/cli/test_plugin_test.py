"""`skein plugin test` as its user meets it; what it finds is the business of Tests/plugins."""

import json
import os

import pytest

from plugins import compile_plugin, template


@pytest.fixture
def good(alone, tmp_path):
    folder = tmp_path / "good"
    compile_plugin(folder)
    template(folder)
    return folder / "plugin.so"


def test_the_checks_are_listed(alone):
    listed = alone.ok("plugin", "test", "--list", "-o", "json").json
    names = [check["name"] for check in listed]
    assert len(names) > 40 and len(set(names)) == len(names) and all(check["promise"].endswith(".") for check in listed)
    assert alone.ok("plugin", "test", "--list", "-o", "name").lines == names
    assert "PROMISE" in alone.ok("plugin", "test", "--list").out


def test_a_good_one_passes_and_its_report_is_written(alone, good, tmp_path):
    done = alone.run("plugin", "test", good, "--fuzz-seconds", "0.1", "--report", tmp_path / "report.json")
    assert done.code == 0, done
    assert done.lines[-1].endswith(" passed, 0 failed, 0 skipped") and "partitioner.speed" in done.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["schema"] == 1 and report["id"] == "com.acme.sticky" and report["verdict"] == "passed"
    assert len(report["sha256"]) == 64 and report["checks"][0]["name"] == "binary.elf"
    speed = next(check for check in report["checks"] if check["name"] == "partitioner.speed")
    assert speed["measured"]["ns_per_record"] > 0 and speed["seconds"] > 0


def test_only_what_is_asked_for_and_what_that_needs(alone, good):
    report = alone.ok("plugin", "test", good, "--only", "binary.stack", "--report", "-").json
    assert [check["name"] for check in report["checks"]] == ["binary.elf", "binary.stack"]
    assert report["verdict"] == "partly tried"
    wrong = alone.run("plugin", "test", good, "--only", "binary.stak")
    assert wrong.code == 2 and "binary.stack" in wrong.err


def test_a_bad_one_fails_with_cause_and_cure(alone, tmp_path):
    folder = tmp_path / "bad"
    compile_plugin(folder, entry="__builtin_trap();")
    template(folder)
    done = alone.run("plugin", "test", folder / "plugin.so", "--fuzz-seconds", "0")
    assert done.code == 1 and "SIGILL" in done.out and "skein_plugin_entry" in done.out and "Cure: " in done.out
    assert "1 failed" in done.lines[-1] and "not tried: load.entry did not pass" in done.out


def test_what_is_no_plugin(alone, tmp_path):
    assert "cannot be read" in alone.run("plugin", "test", tmp_path / "none.so").err
    (tmp_path / "a.so").write_bytes(b"nothing")
    alone_there = alone.run("plugin", "test", tmp_path / "a.so")
    assert alone_there.code == 1 and "no manifest beside" in alone_there.err and "a.manifest.json" in alone_there.err
    (tmp_path / "a.json").write_text("[]")
    assert "no JSON object" in alone.run("plugin", "test", tmp_path / "a.so").err
    template(tmp_path, id="nodots")
    os.replace(tmp_path / "manifest.json", tmp_path / "a.json")
    assert "id" in alone.run("plugin", "test", tmp_path / "a.so").err
    template(tmp_path)
    os.remove(tmp_path / "a.json")
    result = alone.run("plugin", "test", tmp_path / "a.so")
    assert result.code == 1 and "FAILED  binary.elf" in result.out
    assert alone.run("plugin", "test").code == 2


def test_nobody_enters_a_check_by_hand(alone):
    assert alone.run("--conformance-check").code == 64
