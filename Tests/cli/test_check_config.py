"""`skeind check-config`: every wrong path is told with file, line, key and what is allowed; all at once."""

import os
import subprocess

import pytest

from tools import Result

BASE = """\
data:
  directory: /var/lib/skein
tls:
  certificate: /etc/skein/server.pem
  key: /etc/skein/server.key
  client-authorities: /etc/skein/ca.pem
"""


@pytest.fixture
def check(tmp_path):
    def check(text=None, *arguments, name="skein.yaml", **environment):
        if text is not None:
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
            arguments = ("--config", name, *arguments)
        done = subprocess.run([os.environ["SKEIND"], "check-config", *arguments], cwd=tmp_path, capture_output=True,
                              env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment}, timeout=60)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())
    return check


def test_what_is_in_force_and_where_it_came_from(check):
    result = check(BASE + "log.level: debug\n", "--set", "drain.ms=5000", SKEIN_BROKER_ID="7")
    assert result.code == 0 and result.err == "", result
    lines = result.out.splitlines()
    assert "log.level: debug  # skein.yaml:7" in lines
    assert "data.directory: /var/lib/skein  # skein.yaml:2" in lines
    assert "drain.ms: 5000  # flag" in lines
    assert "broker.id: 7  # environment" in lines
    assert "cluster.id: local  # default" in lines


@pytest.mark.parametrize("text, words", [
    # unknown, with the nearest
    (BASE + "drain:\n  msec: 5\n", ["skein.yaml:8: drain.msec: unknown setting; did you mean `drain.ms`?"]),
    (BASE + "lisen: 127.0.0.1:1\n", ["skein.yaml:7: lisen: unknown setting; did you mean `listen`?"]),
    (BASE + "frobnication: 5\n", ["skein.yaml:7: frobnication: unknown setting; known: data.directory, "]),
    # wrong values
    (BASE + "drain.ms: soon\n", ["skein.yaml:7: drain.ms: \"soon\" is not valid; allowed: 0 to 600000"]),
    (BASE + "drain.ms: 600001\n", ["skein.yaml:7: drain.ms: ", "allowed: 0 to 600000"]),
    (BASE + "drain.ms: 99999999999999999999999\n", ["skein.yaml:7: drain.ms: ", "allowed: 0 to 600000"]),
    (BASE + "log.level: debgu\n", ["skein.yaml:7: log.level: ", "allowed: trace, debug", "did you mean `debug`?"]),
    (BASE + "listen: 7600\n", ["skein.yaml:7: listen: ", "allowed: host:port"]),
    (BASE + "listen:\n", ["skein.yaml:7: listen: has no value; allowed: host:port"]),
    # wrong shapes
    (BASE + "drain.ms: [1, 2]\n", ["skein.yaml:7: drain.ms: is a list where one value belongs; allowed: 0 to 600000"]),
    (BASE + "drain.ms: {a: 1}\n", ["skein.yaml:7: drain.ms: is a mapping where one value belongs"]),
    (BASE + "drain: 5\n", ["skein.yaml:7: drain: is a group, not a setting; it has drain.ms"]),
    (BASE + "? [a]\n: 5\n", ["skein.yaml:7: a key is a list"]),
    ("- data\n", ["skein.yaml:1: the file must be a mapping", "it is a list"]),
    ("just words\n", ["skein.yaml:1: the file must be a mapping", "it is a single value"]),
    # twice
    (BASE + "drain.ms: 1\ndrain:\n  ms: 2\n", ["skein.yaml:9: drain.ms: is set twice, first in line 7"]),
    (BASE + "drain.ms: 1\ndrain.ms: 2\n", ["drain.ms: set twice in one mapping"]),
    # no YAML
    (BASE + "drain: [1\n", ["skein.yaml:", "not valid YAML"]),
    (BASE + "\tdrain: 1\n", ["skein.yaml:7:1: not valid YAML"]),
    (b"drain.ms: \xff\n", ["skein.yaml is not UTF-8 text"]),
    (b"drain.ms: \x01\n", ["skein.yaml: not valid YAML", "control characters"]),
    # nothing in it: what has no default is missing
    ("", ["data.directory: must be set", "tls.key: must be set", "--dev DIR"]),
    ("# only a comment\n", ["data.directory: must be set"]),
])
def test_a_wrong_file(check, text, words):
    result = check(text)
    assert result.code == 2 and result.out == "", result
    for word in words:
        assert word in result.err, result.err


def test_everything_wrong_is_told_at_once(check):
    result = check("drain.ms: x\nlog.level: loud\nlisen: a:1\n", "--set", "nothing=1")
    assert result.code == 2
    for word in ("skein.yaml:1: drain.ms", "skein.yaml:2: log.level", "skein.yaml:3: lisen", "--set nothing: unknown",
                 "tls.key: must be set"):
        assert word in result.err, result.err


def test_files_that_cannot_be_read(check, tmp_path):
    missing = check(None, "--config", "nowhere.yaml")
    assert missing.code == 2 and "nowhere.yaml" in missing.err and "no such file" in missing.err
    folder = check(None, "--config", str(tmp_path))
    assert folder.code == 2 and "it is a directory" in folder.err


def test_flags_and_variables(check):
    assert "--set drain.mx: unknown setting; did you mean `drain.ms`?" in check(BASE, "--set", "drain.mx=1").err
    assert "flag: drain.ms: \"x\" is not valid" in check(BASE, "--set", "drain.ms=x").err
    assert "environment: drain.ms: \"x\" is not valid" in check(BASE, SKEIN_DRAIN_MS="x").err
    assert check(BASE, "--set", "drain.ms").code == 2
    near = check(BASE, SKEIN_DRAIN_MSS="5")
    assert near.code == 0 and "SKEIN_DRAIN_MSS is no setting; did you mean SKEIN_DRAIN_MS?" in near.err
    unknown = check(BASE, "--lisen", "a:1")
    assert unknown.code == 2 and "--listen" in unknown.err
