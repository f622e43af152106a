"""Plug-ins as their authors and operators meet them: packages, trust, installs, and every refusal, each with one
sentence of cause and one of cure. Real processes; plug-ins are compiled by `cc` from the public header."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from plugins import ARCH, Package, compile_plugin, template
from tools import Broker, Tool

ID = "com.acme.sticky"


@pytest.fixture(scope="module")
def house():
    """A broker of its own, a home, and an author's key that the broker trusts."""
    assert (Path(os.environ["SKEIND"]).parent / "skein-plugin-host").exists(), "build skein-plugin-host too"
    with tempfile.TemporaryDirectory(prefix="skein-plugins-") as folder:
        folder = Path(folder)
        broker = Broker(os.environ["SKEIND"], folder)
        skein = Tool(os.environ["SKEIN"], folder, SKEIN_CONTEXT=str(broker.dev / "context.yaml"))
        skein.ok("plugin", "keygen", "acme")
        skein.ok("plugin", "trust", "add", "acme.pem")
        try:
            yield skein, broker, folder
        finally:
            broker.stop()


def pack(skein, home, version="1.0.0", id=ID, key="acme.key", **members):
    """Compiles and packs one version."""
    folder = home / f"{id}-{version}"
    compile_plugin(folder, id=id, version=version)
    template(folder, id=id, version=version, **members)
    name = f"{id}-{version}.skeinplug"
    skein.ok("plugin", "pack", folder, *(["--key", key] if key else []), "--force")
    return home / name


def refused(skein, *arguments, cause, cure, reason="PLUGIN_REFUSED"):
    result = skein.run(*arguments)
    assert result.code == 1 and reason in result.err, result
    first = result.err.splitlines()[0]
    if reason == "PLUGIN_REFUSED":
        assert first.startswith("skein: REFUSED "), first
        assert cause in first and cure in first, first
    else:
        assert cause in result.err and cure in result.err, result
    return result


def test_a_version_from_its_source_to_its_end(house):
    skein, broker, home = house
    file = pack(skein, home, "1.0.0")
    assert "is sound" in skein.ok("plugin", "verify", file, "--key", "acme.pem").out
    assert skein.ok("plugin", "info", file, "-o", "json").json["id"] == ID
    tried = skein.ok("plugin", "install", file, "--verify-only", "-o", "json").json
    assert tried["installed"] is False and ID not in skein.ok("plugin", "list").out
    done = skein.ok("plugin", "install", file, "-o", "json").json
    assert done["plugin"]["trust"] == "trusted" and done["plugin"]["state"] == "ready"
    assert [c["name"] for c in done["checks"]] == [
        "policy", "signature", "manifest", "platform", "requires", "hash", "abi", "symbols", "probe"]
    assert skein.ok("plugin", "install", file, "-o", "json").json["was_installed_before"] is True
    # Versions stand side by side.
    skein.ok("plugin", "install", pack(skein, home, "1.1.0"))
    assert skein.ok("plugin", "list", "-o", "name").lines[3:] == [f"{ID}@1.0.0", f"{ID}@1.1.0"]
    name = f"{ID}@1.0.0"
    assert skein.ok("plugin", "grant", name, "in-process", "-o", "json").json["grants"] == ["in-process"]
    assert skein.ok("plugin", "grant", name, "--none", "-o", "json").json["grants"] == []
    assert skein.ok("plugin", "disable", name, "-o", "json").json["state"] == "disabled"
    refused(
        skein, "topic", "create", "off", "--partitioner", name, reason="PLUGIN_DISABLED", cause="is disabled",
        cure="skein plugin enable")
    assert skein.ok("plugin", "enable", name, "-o", "json").json["state"] == "ready"
    info = skein.ok("plugin", "info", name, "-o", "json").json
    assert info["publisher"] == "Acme" and json.loads(info["manifest"])["version"] == "1.0.0"
    assert "used by" in skein.ok("plugin", "info", name).out
    for version in ["1.0.0", "1.1.0"]:
        skein.ok("plugin", "remove", f"{ID}@{version}")
    assert ID not in skein.ok("plugin", "list").out
    # Every change has its line in the broker's log.
    log = (home / "skeind.log").read_text()
    for line in ["plugin installed", "plugin key trusted", "plugin grants changed", "plugin disabled", "plugin removed"]:
        assert f'msg="{line}"' in log, line


def test_unsigned(house):
    skein, _, home = house
    file = pack(skein, home, "2.0.0", key=None)
    refused(skein, "plugin", "install", file, cause="is not signed", cure="skein plugin trust add")
    refused(skein, "plugin", "verify", file, "--key", "acme.pem", cause="is not signed", cure="signed package")


def test_stripped_signature(house):
    skein, _, home = house
    package = Package.read(pack(skein, home, "2.0.1"))
    package.signature = b""
    refused(skein, "plugin", "install", package.write(home / "x.skeinplug"), cause="is not signed", cure="signed")


def test_altered_by_one_byte(house):
    skein, _, home = house
    data = pack(skein, home, "2.0.2").read_bytes()
    places = {30: "package|manifest|signature", 24 + 8 + 40: "signature", len(data) - 100: "hash"}
    for place in places:
        altered = bytearray(data)
        altered[place] ^= 1
        (home / "x.skeinplug").write_bytes(altered)
        result = skein.run("plugin", "install", "x.skeinplug")
        assert result.code == 1 and "PLUGIN_REFUSED" in result.err and ". " in result.err, (place, result)
    refused(skein, "plugin", "install", "x.skeinplug", cause="plugin.so is not what Acme signed", cure="Fetch it again")


def test_truncated(house):
    skein, _, home = house
    data = pack(skein, home, "2.0.3").read_bytes()
    (home / "x.skeinplug").write_bytes(data[:-1])
    refused(skein, "plugin", "install", "x.skeinplug", cause="no sound plug-in package", cure="Fetch it again")


def test_unknown_key(house):
    skein, _, home = house
    skein.ok("plugin", "keygen", "stranger")
    file = pack(skein, home, "2.0.4", key="stranger.key")
    refused(skein, "plugin", "install", file, cause="which this broker does not trust", cure="skein plugin trust add")


@pytest.mark.parametrize("change, cause, cure", [
    (lambda m: m["artifacts"][0].update(arch="riscv64"), "this broker runs on linux/" + ARCH, "Ask Acme for a package"),
    (lambda m: m["artifacts"][0].update(libc_min="9.9"), "it needs glibc 9.9", "older system"),
    (lambda m: m["abi"].update(major=2), "it is built for ABI major 2", "major 1"),
    (lambda m: m.update(requires=["skein.host.gpu/1"]), "skein.host.gpu/1, which this broker does not have", "newer broker"),
])
def test_what_the_manifest_asks_for(house, change, cause, cure):
    skein, _, home = house
    package = Package.read(pack(skein, home, "2.1.0")).edit(change, home / "acme.key", home)
    refused(skein, "plugin", "install", package.write(home / "x.skeinplug"), cause=cause, cure=cure)


@pytest.mark.parametrize("change, field", [
    (lambda m: m.update(kinds=["skein.partitoner/1"]), "kinds"), (lambda m: m.update(publishr="x"), "publishr"),
    (lambda m: m.update(version="one"), "version"), (lambda m: m["artifacts"][0].update(size="9"), "artifacts[0].size"),
    (lambda m: m.update(config_schema={"type": "objct"}), "config_schema.type"),
])
def test_bad_manifest(house, change, field):
    skein, _, home = house
    package = Package.read(pack(skein, home, "2.2.0")).edit(change, home / "acme.key", home)
    result = refused(
        skein, "plugin", "install", package.write(home / "x.skeinplug"), cause="manifest.json cannot be used",
        cure="")
    assert f"\n  {field}: " in result.err, result.err


def test_the_file_itself(house):
    skein, _, home = house
    for name, options, cause, cure in [
        ("abi", {"mark": "__attribute__((section(\".skein.abi\"), used)) static const uint32_t m[4] = {0x314e4b53u, 2u, 0u, 64u};"},
         "ABI major 2", "major 1"),
        ("mark", {"mark": ""}, "no mark of the ABI", "SKEIN_PLUGIN_ABI_MARK"),
        ("unload", {"flags": ["-Wl,-z,nonodelete"]}, None, None),
        ("stack", {"flags": ["-Wl,-z,execstack"]}, "executable stack", "noexecstack"),
        ("symbols", {"mark": "SKEIN_PLUGIN_ABI_MARK; __attribute__((visibility(\"default\"))) int more;"},
         "besides skein_plugin_entry: more", "-fvisibility=hidden"),
    ]:
        if cause is None:
            continue
        folder = home / f"file-{name}"
        compile_plugin(folder, version="2.3.0", **options)
        template(folder, version="2.3.0")
        if name == "mark":
            template(folder, version="2.3.0", abi={"major": 1, "minor": 0})
        if name == "abi":
            template(folder, version="2.3.0", abi={"major": 1, "minor": 0})
        # Already here, before anything is sent.
        refused(skein, "plugin", "pack", folder, "--key", "acme.key", cause=cause, cure=cure)


def test_a_plugin_that_crashes_is_not_installed(house):
    skein, _, home = house
    folder = home / "crash"
    compile_plugin(folder, version="2.4.0", entry="__builtin_trap();")
    template(folder, version="2.4.0")
    skein.ok("plugin", "pack", folder, "--key", "acme.key", "--to", "crash.skeinplug")
    refused(
        skein, "plugin", "install", "crash.skeinplug", reason="PLUGIN_PROBE_FAILED", cause="2.4.0", cure="ask its author")
    assert "2.4.0" not in skein.ok("plugin", "list").out


def test_a_crash_is_told_and_three_are_a_quarantine(house):
    skein, broker, home = house
    folder = home / "boom"
    compile_plugin(
        folder, version="2.5.0",
        each='if (records->keys[i].len == 4 && !memcmp(records->keys[i].ptr, "boom", 4)) __builtin_trap();')
    template(folder, version="2.5.0")
    skein.ok("plugin", "pack", folder, "--key", "acme.key", "--to", "boom.skeinplug")
    skein.ok("plugin", "install", "boom.skeinplug")
    name = f"{ID}@2.5.0"
    skein.ok("topic", "create", "boom", "-p", 3, "--partitioner", name)
    skein.ok("topic", "create", "calm", "-p", 3)
    # It tries again and again, as it should: no record was published, and each try is a crash.
    producer = skein.start("produce", "boom", "--key", "boom", "--value", "x")
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            info = skein.ok("plugin", "info", name, "-o", "json").json
            if info["plugin"]["state"] == "quarantined":
                break
        assert info["plugin"]["state"] == "quarantined", info
        assert info["problem"]["reason"] == "PLUGIN_QUARANTINED" and info["strikes"] == 3, info
        fault = info["recent_faults"][-1]
        assert fault["kind"] == "crash" and "boom" in fault["used_by"], info
        shown = skein.ok("plugin", "info", name).out
        assert "crash" in shown and "skein plugin release" in shown
        refused(
            skein, "topic", "create", "late", "--partitioner", name, reason="PLUGIN_QUARANTINED",
            cause="in quarantine", cure="skein plugin release")
        # The broker and its other topics serve on, and health names the one that does not.
        skein.ok("produce", "calm", "--key", "boom", "--value", "x")
        health = skein.run("cluster", "health", "-o", "json").json
        assert any(problem["subject"] == "topic boom" for problem in health["problems"]), health
    finally:
        producer.terminate()
        producer.communicate(timeout=60)
    assert skein.ok("plugin", "release", name, "-o", "json").json["state"] == "ready"
    assert 'msg="plugin quarantined"' in (home / "skeind.log").read_text()
    skein.ok("topic", "delete", "boom")
    skein.ok("plugin", "remove", name)


def stored(broker, skein, name):
    info = skein.ok("plugin", "info", name, "-o", "json").json
    return broker.dev / "data" / "plugins" / "store" / f"sha256-{info['plugin']['sha256']}"


@pytest.mark.parametrize("how", ["replaced", "one byte", "symlinked", "gone"])
def test_changed_in_the_store_after_the_install(house, how):
    skein, broker, home = house
    file = pack(skein, home, "3.0.0")
    skein.ok("plugin", "install", file)
    name = f"{ID}@3.0.0"
    so = stored(broker, skein, name) / "plugin.so"
    data = so.read_bytes()
    if how == "replaced":
        shutil.copy("/bin/true", so)
    elif how == "one byte":
        so.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        so.unlink()
        if how == "symlinked":
            (home / "same.so").write_bytes(data)
            so.symlink_to(home / "same.so")
    refused(
        skein, "topic", "create", "altered", "--partitioner", name, cause="was changed after it was installed",
        cure="install the same package again")
    listed = {p["version"]: p for p in skein.ok("plugin", "list", "-o", "json").json if p["id"] == ID}
    assert listed["3.0.0"]["state"] == "failed"
    # The cure.
    skein.ok("plugin", "install", file)
    assert skein.ok("plugin", "info", name, "-o", "json").json["plugin"]["state"] == "ready"
    skein.ok("plugin", "remove", name)


def test_unknown_versions_wrong_kinds_and_bad_configurations(house):
    skein, _, home = house
    for command in ["info", "enable", "disable", "remove", "release"]:
        refused(
            skein, "plugin", command, "com.acme.none@1.0.0", reason="PLUGIN_NOT_FOUND", cause="is not installed",
            cure="skein plugin list")
    refused(
        skein, "topic", "create", "none", "--partitioner", "com.acme.none@1.0.0", reason="PLUGIN_NOT_FOUND",
        cause="is not installed", cure="skein plugin list")
    assert skein.run("plugin", "remove", "com.acme.none").code == 2
    schema = {"type": "object", "properties": {"salt": {"type": "string", "maxLength": 4}}}
    skein.ok("plugin", "install", pack(skein, home, "4.0.0", config_schema=schema))
    name = f"{ID}@4.0.0"
    for config, field in [('{"slat": "a"}', "config.slat"), ('{"salt": "abcde"}', "config.salt"), ('{"salt": 1}', "config.salt")]:
        result = refused(
            skein, "topic", "create", "bad", "--partitioner", name, "--partitioner-config", config,
            reason="PLUGIN_CONFIG_INVALID", cause=field, cure="")
    skein.ok("topic", "create", "good", "--partitioner", name, "--partitioner-config", '{"salt": "abc"}')
    used = refused(
        skein, "plugin", "remove", name, reason="PLUGIN_IN_USE", cause="topic good", cure="skein topic partitioner set")
    key = skein.ok("plugin", "trust", "list", "-o", "json").json[0]["key_id"]
    refused(skein, "plugin", "trust", "remove", key, reason="PLUGIN_IN_USE", cause=name, cure="")
    listed = {p["id"] + "@" + p["version"]: p for p in skein.ok("plugin", "list", "-o", "json").json}
    assert listed[name]["uses"] == 1
    skein.ok("topic", "delete", "good")
    skein.ok("plugin", "remove", name)


def test_an_author_builds_a_folder_step_by_step(house):
    skein, _, home = house
    folder = home / "steps"
    folder.mkdir()
    assert "there is no such file" in skein.run("plugin", "pack", folder).err
    (folder / "manifest.json").write_text("{")
    refused(skein, "plugin", "pack", folder, cause="manifest.json cannot be used", cure="Correct the manifest")
    template(folder)
    refused(skein, "plugin", "pack", folder, cause="there is no .so beside it", cure="")
    (folder / "a.so").write_text("not a library")
    refused(skein, "plugin", "pack", folder, cause="a.so is no shared object", cure="cc -shared")
    assert skein.run("plugin", "keygen", "acme").code == 1, "a key is never overwritten"
    assert oct((home / "acme.key").stat().st_mode)[-3:] == "600"


def test_keys(house):
    skein, _, home = house
    skein.ok("plugin", "keygen", "other")
    key = skein.ok("plugin", "trust", "add", "other.pem", "--name", "Other Ltd", "-o", "json").json
    listed = {k["key_id"]: k for k in skein.ok("plugin", "trust", "list", "-o", "json").json}
    assert listed[key["key_id"]]["name"] == "Other Ltd" and listed[key["key_id"]]["trust"] == "trusted"
    skein.ok("plugin", "trust", "remove", key["key_id"])
    refused(
        skein, "plugin", "trust", "remove", key["key_id"], reason="PLUGIN_KEY_NOT_FOUND", cause="no trusted key",
        cure="skein plugin trust list")
    (home / "rsa.pem").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    refused(
        skein, "plugin", "trust", "add", "rsa.pem", reason="INVALID_REQUEST", cause="no Ed25519 public key",
        cure="skein plugin keygen")


def test_development_plugins_are_flagged(tmp_path):
    broker = Broker(os.environ["SKEIND"], tmp_path, "--set", "plugins.allow-dev=true")
    try:
        skein = Tool(os.environ["SKEIN"], tmp_path, SKEIN_CONTEXT=str(broker.dev / "context.yaml"))
        file = pack(skein, tmp_path, "5.0.0", key=None)
        assert "nobody signed" in skein.ok("plugin", "install", file).err
        out = skein.ok("plugin", "list").out
        assert f"dev: nobody signed {ID}@5.0.0" in out and "\x1b" not in out
        seen = skein.terminal("plugin", "list", until=b"nobody signed")
        assert b"\x1b[31m" + ID.encode() in seen
        refused(
            skein, "plugin", "grant", f"{ID}@5.0.0", "in-process", cause="it may not run in the broker",
            cure="Leave it in its child")
    finally:
        broker.stop()


def test_an_install_outlives_a_restart(tmp_path):
    broker = Broker(os.environ["SKEIND"], tmp_path)
    try:
        skein = Tool(os.environ["SKEIN"], tmp_path, SKEIN_CONTEXT=str(broker.dev / "context.yaml"))
        skein.ok("plugin", "keygen", "acme")
        skein.ok("plugin", "trust", "add", "acme.pem")
        skein.ok("plugin", "install", pack(skein, tmp_path, "6.0.0"))
    finally:
        broker.stop()
    broker = Broker(os.environ["SKEIND"], tmp_path)
    try:
        skein = Tool(os.environ["SKEIN"], tmp_path, SKEIN_CONTEXT=str(broker.dev / "context.yaml"))
        assert skein.ok("plugin", "info", f"{ID}@6.0.0", "-o", "json").json["plugin"]["state"] == "ready"
        skein.ok("topic", "create", "after", "--partitioner", f"{ID}@6.0.0")
    finally:
        broker.stop()
