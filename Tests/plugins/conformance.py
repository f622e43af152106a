#!/usr/bin/env python3
"""The conformance kit against plug-ins that keep every promise, and plug-ins that break one each.

    Tests/plugins/conformance.py SKEIN [--plugins FOLDER] [NAME ...]

FOLDER: what Plugins/build.sh made; each of our own plug-ins must pass as a .so and, packed, as a .skeinplug.

Each bad plug-in says in its first line which check it breaks. The kit must fail that check and no other: what it
cannot try afterwards it must leave out. One line a plug-in; the last line is the count.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
INCLUDE = HERE.parent.parent / "Sources" / "CSkeinPlugin" / "include"
KINDS = {"partitioner.h": "skein.partitioner/1", "authenticator.h": "skein.authenticator/1",
         "offset_store.h": "skein.offset-store/1"}
CREDENTIAL = "bearer:open-sesame-0123456789"

SECRET = "5e" * 32
TOKENS = {"tokens": [{"id": "00112233445566aa", "sha256": hashlib.sha256(SECRET.encode()).hexdigest(),
                      "tenant": "default", "principal": "ann", "expires_ms": 4_000_000_000_000}]}

# What our own plug-ins are given besides the file, once for each.
OWN = {
    "token-authenticator": [["--config", json.dumps(TOKENS),
                             "--credential", f"bearer:skein_00112233445566aa_{SECRET}"]],
    "affinity": [["--config", '{"separator": ":"}'], ["--config", '{"prefix_bytes": 4}'],
                 ["--config", '{"header": "tenant"}']],
}


def field(text, name):
    found = re.search(rf"{name}: *([^\n]*?) *(?:\*/|\n|$)", text)
    return found.group(1).strip() if found else None


def build(source, folder):
    """Compiles one file from the header alone and writes its manifest beside it."""
    text = source.read_text()
    library = folder / (source.stem + ".so")
    link = (field(text, "LINK") or "-Wl,-z,nodelete").split()
    compiler = ["cc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-parameter",
                "-Wno-unused-variable", "-Wno-unused-but-set-variable", "-fPIC", "-fvisibility=hidden", "-shared",
                f"-I{INCLUDE}", str(source), "-o", str(library), "-pthread", *link]
    subprocess.run(compiler, check=True, capture_output=True, text=True)
    kind = next(kind for name, kind in KINDS.items() if name in text)
    plugin = field(text, "MANIFEST-ID") or re.search(r'PLUGIN_ID "([^"]+)"', text).group(1)
    # Not by the table's flag alone: one of the bad ones contradicts its manifest.
    pure = kind == "skein.partitioner/1" and (source.stem == "not_pure_after_all" or "PLUGIN_FLAGS 0" not in text)
    manifest = {"schema": 1, "id": plugin, "version": "1.0.0", "kinds": [kind], "abi": {"major": 1, "minor": 0},
                "requires": [] if kind == "skein.partitioner/1" else ["skein.host.async/1"], "runtime": "c",
                "pure": pure, "publisher": "Skein's tests"}
    if field(text, "MANIFEST-LIBC"):
        arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        manifest["artifacts"] = [{"os": "linux", "arch": arch, "libc_min": field(text, "MANIFEST-LIBC")}]
    (folder / (source.stem + ".json")).write_text(json.dumps(manifest))
    return library, kind


def test(skein, library, kind):
    command = [skein, "plugin", "test", str(library), "--fuzz-seconds", "0.1", "--timeout-seconds",
               "3" if library.stem == "hang" else "12", "--report", "-"]
    if kind == "skein.authenticator/1":
        command += ["--credential", CREDENTIAL]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    try:
        return run.returncode, json.loads(run.stdout)
    except json.JSONDecodeError:
        raise RuntimeError(f"exit code {run.returncode}: {run.stderr.strip() or run.stdout[:300]}") from None


def judge(source, code, report):
    """None, or what is not as it should be."""
    failed = [row for row in report["checks"] if row["result"] == "failed"]
    names = [row["name"] for row in failed]
    if source.parent.name == "good":
        if names or code != 0:
            return f"exit code {code}, failed: " + "; ".join(f"{row['name']}: {row['cause']}" for row in failed)
        skipped = [row for row in report["checks"] if row["result"] == "skipped" and "did not pass" in row["cause"]]
        return f"not tried: {[row['name'] for row in skipped]}" if skipped else None
    expected = re.search(r"Breaks: ([a-z.-]+?)\. ", source.read_text()).group(1)
    if names != [expected]:
        return f"expected {expected} alone to fail; failed: " + (
            "; ".join(f"{row['name']}: {row['cause']}" for row in failed) or "nothing")
    if code != 1:
        return f"exit code {code} instead of 1"
    if not failed[0].get("cause") or not failed[0].get("cure"):
        return f"{expected} gives no cause or no cure"
    return None


def one(skein, source, folder):
    start = time.monotonic()
    try:
        library, kind = build(source, folder)
        code, report = test(skein, library, kind)
        problem = judge(source, code, report)
        said = next((row["cause"] for row in report["checks"] if row["result"] == "failed"), "")
    except subprocess.CalledProcessError as error:
        problem, said = f"does not compile: {error.stderr[:2000]}", ""
    except Exception as error:  # noqa: BLE001: whatever it is, this plug-in failed
        problem, said = repr(error), ""
    return source, problem, said, time.monotonic() - start


def own(skein, folder, name, options, packed):
    """Nothing may fail on a plug-in of ours."""
    start = time.monotonic()
    source = pathlib.Path("Plugins") / (name + (" packed" if packed else "") + " " + " ".join(options[1:])[:24])
    try:
        file = folder / name / "plugin.so"
        if packed:
            file = folder / f"{name}.skeinplug"
            subprocess.run([skein, "plugin", "pack", str(folder / name), "--to", str(file), "--force"],
                           check=True,
                           capture_output=True, text=True)
        run = subprocess.run([skein, "plugin", "test", str(file), "--fuzz-seconds", "0.3" if packed else "2",
                              "--report", "-", *options], capture_output=True, text=True, timeout=300)
        rows = json.loads(run.stdout)["checks"]
        problem = "; ".join(f"{row['name']}: {row['cause']}" for row in rows if row["result"] == "failed") or None
        said = f"{sum(row['result'] == 'passed' for row in rows)} checks"
        for row in rows:
            if "ns_per_record" in row["measured"]:
                said += f", {row['measured']['ns_per_record']:.0f} ns a record"
    except Exception as error:  # noqa: BLE001: whatever it is, this plug-in failed
        problem, said = repr(error) + str(getattr(error, "stderr", "")), ""
    return source, problem, said, time.monotonic() - start


def main():
    skein = os.path.abspath(sys.argv[1])
    rest = sys.argv[2:]
    plugins = None
    if "--plugins" in rest:
        at = rest.index("--plugins")
        plugins = pathlib.Path(rest[at + 1]).resolve()
        del rest[at:at + 2]
    wanted = set(rest)
    sources = sorted((HERE / "good").glob("*.c")) + sorted((HERE / "bad").glob("*.c"))
    sources = [source for source in sources if not wanted or source.stem in wanted]
    failures = total = 0
    with tempfile.TemporaryDirectory(prefix="skein-conformance-") as folder:
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            jobs = []
            for name in sorted(each.parent.name for each in plugins.glob("*/plugin.so")) if plugins else []:
                for number, options in enumerate(OWN.get(name, [[]])):
                    jobs.append(pool.submit(own, skein, plugins, name, options, False))
                    if number == 0:
                        jobs.append(pool.submit(own, skein, plugins, name, options, True))
            jobs += [pool.submit(one, skein, source, pathlib.Path(folder)) for source in sources]
            total = len(jobs)
            for source, problem, said, seconds in (job.result() for job in jobs):
                name = f"{source.parent.name}/{source.stem}"
                print(f"{'FAILED' if problem else 'ok':6} {name:34} {seconds:5.1f} s  {problem or said}", flush=True)
                failures += problem is not None
    print(f"{total - failures} passed, {failures} failed")
    sys.exit(1 if failures or not total else 0)


if __name__ == "__main__":
    main()
