#!/usr/bin/env python3
"""Bad plug-ins against a real broker, as issue 4 lists them, and what each gets.

    Tests/plugins/refusals.py FOLDER-OF-PROGRAMS

First the packages that no broker takes (one sentence of cause, one of cure each; Tests/cli/test_plugins.py has the
finer cases), then plug-ins that turn bad once they are in use: in a child, and in the broker. Ends with the count.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))

from plugins import ARCH, Package, compile_plugin, template  # noqa: E402
from tools import Broker, Tool  # noqa: E402

ID = "com.acme.sticky"
FAULTY = "org.skein.test-faults"
results = []


def check(name, problem, said=""):
    results.append(problem is None)
    print(f"{'ok' if problem is None else 'FAILED':6} {name:44} {problem or said}", flush=True)


def wait(what, seconds, body):
    """What `body` gives once it is true."""
    end = time.monotonic() + seconds
    while True:
        value = body()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class House:
    """A broker with an author's key that it trusts."""

    def __init__(self, programs, folder, *arguments):
        self.programs, self.folder, self.arguments = programs, folder, arguments
        self.broker = Broker(str(programs / "skeind"), folder, *arguments)
        self.skein = Tool(str(programs / "skein"), folder, SKEIN_CONTEXT=str(self.broker.dev / "context.yaml"))

    def again(self):
        """Starts the broker anew on the same data, at another port."""
        self.broker.process.wait(20)
        self.broker.log.close()
        self.broker = Broker(str(self.programs / "skeind"), self.folder, *self.arguments)

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.broker.operations}/metrics", timeout=10) as page:
            return page.read().decode()

    def plugin(self, reference):
        return self.skein.ok("plugin", "info", reference, "-o", "json").json


# ---- Packages that no broker takes ----


def edited(good, change, key, folder):
    return Package.read(good).edit(change, key, folder)


def refusals(house):
    """(name, a function that writes the package and gives its path) in the order of the issue."""
    home, skein = house.folder, house.skein
    source = home / "good"
    compile_plugin(source)
    template(source)
    skein.ok("plugin", "pack", source, "--key", "acme.key", "--to", "good.skeinplug")
    good, key = home / "good.skeinplug", home / "acme.key"

    def unsigned():
        skein.ok("plugin", "pack", source, "--to", "unsigned.skeinplug")
        return "unsigned.skeinplug"

    def altered():
        package = Package.read(good)
        package.files[0] = package.files[0][:5000] + bytes([package.files[0][5000] ^ 1]) + package.files[0][5001:]
        return package.write(home / "altered.skeinplug")

    def altered_manifest():
        package = Package.read(good)
        package.manifest = package.manifest.replace(b"Acme", b"Acmf")
        return package.write(home / "manifest.skeinplug")

    def stripped():
        package = Package.read(good)
        package.signature, package.key_id = b"", ""
        return package.write(home / "stripped.skeinplug")

    def unknown_key():
        skein.ok("plugin", "keygen", "stranger")
        skein.ok("plugin", "pack", source, "--key", "stranger.key", "--to", "stranger.skeinplug")
        return "stranger.skeinplug"

    def platform():
        other = "arm64" if ARCH == "amd64" else "amd64"
        return edited(good, lambda m: m["artifacts"][0].update(arch=other), key, home).write(home / "platform.skeinplug")

    def abi():
        return edited(good, lambda m: m["abi"].update(major=2), key, home).write(home / "abi.skeinplug")

    def service():
        change = lambda m: m.update(requires=["skein.host.teleport/1"])  # noqa: E731
        return edited(good, change, key, home).write(home / "service.skeinplug")

    return good, [("unsigned", unsigned, "nobody signed|not signed|no signature", "sign"),
                  ("altered by one byte", altered, "sha256|not what", "again"),
                  ("manifest altered by one byte", altered_manifest, "signature|not what", "again"),
                  ("signature stripped", stripped, "nobody signed|not signed|no signature", "sign"),
                  ("signed by an unknown key", unknown_key, "key", "trust add"),
                  ("wrong platform", platform, "linux/", "[Aa]sk"),
                  ("wrong ABI major", abi, "major 2", "major"),
                  ("missing host service", service, "skein.host.teleport/1", "broker")]


def sentences(result, cause, cure):
    """None if it was refused as it must be."""
    if result.code != 1 or "[PLUGIN_REFUSED]" not in result.err:
        return f"exit code {result.code}: {result.err or result.out}"
    line = result.err.splitlines()[0]
    said = line.removeprefix("skein: REFUSED ").removesuffix(" [PLUGIN_REFUSED]")
    # A sentence ends with a point and a capital after it: versions and names have points too.
    parts = re.split(r"\. (?=[A-Z])", said)
    if len(parts) != 2 or not said.endswith("."):
        return f"not one sentence of cause and one of cure: {said}"
    if not re.search(cause, parts[0]) or not re.search(cure, parts[1]):
        return f"the sentences say something else: {said}"
    return None


def packages(house):
    good, rows = refusals(house)
    for name, make, cause, cure in rows:
        before = house.skein.ok("plugin", "list", "-o", "json").json
        result = house.skein.run("plugin", "install", make())
        problem = sentences(result, cause, cure)
        if problem is None and house.skein.ok("plugin", "list", "-o", "json").json != before:
            problem = "something was installed"
        check(name, problem, result.err.splitlines()[0] if result.err else "")
    for name, how in [("replaced on disk after install", "replace"), ("symlinked after install", "link")]:
        house.skein.ok("plugin", "install", good)
        info = house.plugin(f"{ID}@1.0.0")
        file = house.broker.dev / "data" / "plugins" / "store" / f"sha256-{info['plugin']['sha256']}" / "plugin.so"
        data = file.read_bytes()
        file.unlink()
        if how == "link":
            (house.folder / "same.so").write_bytes(data)
            file.symlink_to(house.folder / "same.so")
        else:
            shutil.copy(compile_plugin(house.folder / "evil", entry="__builtin_trap();"), file)
        result = house.skein.run("topic", "create", "altered", "--partitioner", f"{ID}@1.0.0")
        check(name, sentences(result, "changed", "[Ii]nstall"), result.err.splitlines()[0] if result.err else "")
        house.skein.ok("plugin", "install", good)
        house.skein.ok("plugin", "remove", f"{ID}@1.0.0")


# ---- Plug-ins that turn bad ----


def faulty(house, version):
    """Compiles, signs and installs one version of faults.c."""
    folder = house.folder / f"faulty-{version}"
    folder.mkdir()
    subprocess.run(["cc", "-std=c11", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-z,nodelete",
                    f'-DPLUGIN_VERSION="{version}"', "-I", HERE.parent.parent / "Sources/CSkeinPlugin/include",
                    "-o", folder / "plugin.so", HERE / "faults.c"], check=True)
    template(folder, id=FAULTY, version=version)
    house.skein.ok("plugin", "pack", folder, "--key", "acme.key", "--to", f"faulty-{version}.skeinplug")
    house.skein.ok("plugin", "install", f"faulty-{version}.skeinplug")
    return f"{FAULTY}@{version}"


def produce(house, topic, keys, **options):
    lines = "".join(f"{key}:value of {key}\n" for key in keys)
    return house.skein.run("produce", topic, "--key-separator", ":", input=lines, **options)


def read_back(house, topic, expected):
    got = house.skein.ok("consume", topic).out.splitlines()
    return None if len(got) == expected else f"{len(got)} records instead of {expected}"


def crash_in_child(house):
    name = faulty(house, "1.0.0")
    house.skein.ok("topic", "create", "follows", "--partitions", "6", "--partitioner", name, "--partitioner-fallback", "murmur2")
    produce(house, "follows", [f"k{n}" for n in range(50)])
    first = house.plugin(name)
    result = produce(house, "follows", ["a", "boom", "b", "c"])
    problem = None if result.code == 0 else f"produce failed: {result.err}"
    check("crash in a child: the fallback places the records", problem or read_back(house, "follows", 54))
    alive = house.broker.process.poll() is None
    metrics = house.metrics()
    fallback = re.search(r"^skein_partitioner_fallback_records_total\S* ([1-9]\d*)", metrics, re.M)
    fault = re.search(rf'^skein_plugin_faults_total\{{[^}}]*{re.escape(FAULTY)}[^}}]*kind="crash"\}} ([1-9]\d*)', metrics, re.M)
    info = json.dumps(house.plugin(name))
    check("crash in a child: the broker serves on", None if alive else "the broker died")
    check("crash in a child: metrics name it", None if fallback and fault else
          "\n".join(line for line in metrics.splitlines() if "plugin" in line or "fallback" in line),
          fault.group(0) if fault else "")
    check("crash in a child: status names it", None if "crash" in info else info, f"{first['plugin']['state']}, then crash")
    wait("the child is back", 20, lambda: produce(house, "follows", ["again"]).code == 0)
    for _ in range(6):
        if house.plugin(name)["plugin"]["state"] == "quarantined":
            break
        produce(house, "follows", ["boom"])
        time.sleep(0.5)
    state = house.plugin(name)["plugin"]["state"]
    check("three crashes: quarantined", None if state == "quarantined" else f"its state is {state}", state)
    result = produce(house, "follows", ["after"])
    check("quarantined: the topic follows its fallback", None if result.code == 0 else result.err)
    check("quarantined: metrics say so",
          None if re.search(rf"^skein_plugin_quarantined\{{[^}}]*{re.escape(FAULTY)}[^}}]*\}} 1", house.metrics(), re.M)
          else "no skein_plugin_quarantined 1")


def reject_in_child(house):
    name = faulty(house, "2.0.0")
    house.skein.ok("topic", "create", "ordered", "--partitioner", name)
    result = produce(house, "ordered", ["a"])
    check("fallback reject: it serves while it works", None if result.code == 0 else result.err)
    for _ in range(6):
        if house.plugin(name)["plugin"]["state"] == "quarantined":
            break
        # The producer of the command line tries again until its own time is over.
        process = house.skein.start("produce", "ordered", "--key", "boom", "--value", "x")
        try:
            process.communicate(timeout=3)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
    state = house.plugin(name)["plugin"]["state"]
    check("fallback reject: quarantined after crashes", None if state == "quarantined" else f"its state is {state}", state)
    house.skein.ok("plugin", "release", name)
    result = produce(house, "ordered", ["b"])
    check("released: it serves again", None if result.code == 0 else result.err)


def crash_in_broker(house):
    name = faulty(house, "3.0.0")
    house.skein.ok("plugin", "grant", name, "in-process")
    house.skein.ok("topic", "create", "inside", "--partitions", "6", "--partitioner", name, "--partitioner-fallback", "murmur2")
    result = produce(house, "inside", [f"k{n}" for n in range(20)])
    check("in the broker: it serves", None if result.code == 0 else result.err,
          str(house.plugin(name)["plugin"]["placement"]))
    process = house.skein.start("produce", "inside", "--key", "boom", "--value", "x")
    try:
        house.broker.process.wait(20)
        check("in the broker: its crash is the broker's", None)
    except subprocess.TimeoutExpired:
        check("in the broker: its crash is the broker's", "the broker lives")
        return
    finally:
        process.kill()
        process.communicate()
    house.again()
    plugin = house.plugin(name)
    check("after the restart it is quarantined", None if plugin["plugin"]["state"] == "quarantined" else
          f"its state is {plugin['plugin']['state']}")
    log = (house.folder / "skeind.log").read_text(errors="replace")
    check("after the restart it is named", None if FAULTY in log and "quarantine" in log else log[-2000:])
    result = produce(house, "inside", ["a", "b", "boom"])
    check("after the restart the topic follows its fallback", (None if result.code == 0 else result.err)
          or read_back(house, "inside", 23))


def main():
    programs = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[2:]
    parts = [packages, crash_in_child, reject_in_child, crash_in_broker]
    for part in parts:
        if wanted and part.__name__ not in wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="skein-refusals-") as folder:
            house = House(programs, pathlib.Path(folder))
            try:
                house.skein.ok("plugin", "keygen", "acme")
                house.skein.ok("plugin", "trust", "add", "acme.pem")
                part(house)
            except Exception as error:  # noqa: BLE001: the other parts go on
                check(part.__name__, repr(error)[:3000])
            finally:
                house.broker.stop()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
