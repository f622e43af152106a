"""`skein doctor`: each thing that can be wrong is one line with its cure, and has its exit code."""

import os
import shutil
import subprocess

import pytest


def checks(result):
    found = {}
    for check in result.json["checks"]:
        found.setdefault(check["check"], []).append(check)
    return found


@pytest.fixture
def context(broker, tmp_path):
    """Writes a context that differs from the broker's own."""
    def write(**changes):
        tls = broker.dev / "tls"
        values = {"address": broker.address, "ca": tls / "ca.pem", "certificate": tls / "admin.pem",
                  "key": tls / "admin.key", **changes}
        path = tmp_path / "context.yaml"
        path.write_text("".join(f'{name}: "{value}"\n' for name, value in values.items()))
        return path
    return write


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """An authority and certificates that the broker does not know."""
    folder = tmp_path_factory.mktemp("stranger") / "dev"
    subprocess.run([os.environ["SKEIND"], "check-config", "--dev", folder], check=True, capture_output=True)
    return folder / "tls"


def test_all_is_well(skein, topic):
    result = skein.run("doctor", "--topic", topic, "-o", "json")
    assert result.code == 0 and result.json["ok"] is True, result
    found = checks(result)
    for check in ("context", "ca", "key", "certificate", "principal", "connection", "server", "latency", "clock",
                  "cluster", "version", "limits", "health", "topics", "topic"):
        assert [c["level"] for c in found[check]] == ["ok"], check
    text = skein.ok("doctor")
    assert text.lines[-1] == "all is well" and "\x1b" not in text.out


@pytest.mark.parametrize("case, code, check, words", [
    ("no context", 2, "context", "skein context"),
    ("nobody there", 4, "connection", "start skeind"),
    ("not skein", 4, "connection", "7600"),
    ("unknown name", 4, "connection", "resolver"),
    ("foreign authority", 4, "connection", "authority that signed the broker"),
    ("foreign certificate", 3, "connection", "tls.client-authorities"),
    ("no principal", 3, "principal", "SAN URI"),
    ("key of another", 1, "key", "made with the certificate"),
    ("no key", 1, "key", "correct the path"),
    ("no certificate in it", 1, "certificate", "PEM"),
    ("missing topic", 1, "topic", "did you mean"),
])
def test_each_ill_has_its_line_its_cure_and_its_code(skein, topic, broker, context, stranger, case, code, check, words):
    tls = broker.dev / "tls"
    more = []
    match case:
        case "no context": path = skein.home / "none.yaml"
        case "nobody there": path = context(address="127.0.0.1:1")
        case "not skein": path = context(address=broker.operations)
        case "unknown name": path = context(address="no-such-host.invalid:7600")
        case "foreign authority": path = context(ca=stranger / "ca.pem")
        case "foreign certificate":
            path = context(certificate=stranger / "admin.pem", key=stranger / "admin.key")
        case "no principal":
            # The server's own certificate: signed by the right authority, but it is nobody.
            path = context(certificate=tls / "server.pem", key=tls / "server.key")
        case "key of another": path = context(key=tls / "server.key")
        case "no key": path = context(key=skein.home / "none.key")
        case "no certificate in it": path = context(certificate=tls / "admin.key")
        case "missing topic": path, more = context(), ["--topic", topic + "x"]
    result = skein.run("doctor", "--context", path, "--connect-timeout", "5", "-o", "json", *more)
    assert result.json["ok"] is False
    bad = [c for c in checks(result)[check] if c["level"] == "fail"]
    assert bad and any(words in (c["cure"] or "") + c["detail"] for c in bad), result.out
    assert all(c["cure"] for c in bad)
    assert result.code == code, result.out


def test_one_address_of_several_may_be_down(skein, broker, context):
    result = skein.run("doctor", "--context", context(address=f"127.0.0.1:1,{broker.address}"), "-o", "json")
    found = checks(result)
    assert sorted(c["level"] for c in found["connection"]) == ["ok", "warn"]
    assert result.code == 0


def test_a_key_that_others_may_read_is_told(skein, broker, context, tmp_path):
    shutil.copy(broker.dev / "tls" / "admin.key", tmp_path / "open.key")
    (tmp_path / "open.key").chmod(0o644)
    result = skein.run("doctor", "--context", context(key=tmp_path / "open.key"), "-o", "json")
    key = checks(result)["key"][0]
    assert result.code == 0 and key["level"] == "warn" and key["cure"].startswith("chmod 600")
