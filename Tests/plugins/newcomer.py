#!/usr/bin/env python3
"""A new author: runs the commands of Docs/plugins/write-a-plugin.md in an empty folder, in their order.

    Tests/plugins/newcomer.py FOLDER-OF-PROGRAMS [--no-broker]

The page's Swift plug-in is put where the page says and built; with `skeind` among the programs, the last part runs against
a broker of its own (loopback, ports of the system's choice). Standard library only. Ends with "N passed, N failed".
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "Docs/plugins/write-a-plugin.md"
programs = Path(sys.argv[1]).resolve()
passed = failed = 0


def check(name, ok, text=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f"FAILED: {name}\n{text}")
    return ok


def run(commands, folder, environment, name):
    """Runs a block as an author would type it; where it ended is where the next one begins."""
    started = time.monotonic()
    script = f"set -exuo pipefail\n{commands}\npwd >\"$NEWCOMER_PLACE\"\n"
    place = Path(environment["NEWCOMER_PLACE"])
    result = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=300)
    ok = check(name, result.returncode == 0, result.stdout[-4000:])
    print(f"{name}: {'done' if ok else 'failed'} in {time.monotonic() - started:.1f} s")
    return Path(place.read_text().strip()) if ok else None


def broker(work, environment):
    """A broker for development; its process, or None."""
    log = open(work / "skeind.log", "w")
    process = subprocess.Popen(
        [programs / "skeind", "--dev", work / "dev", "--listen", "127.0.0.1:0", "--operations", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=log, text=True)
    ready = process.stdout.readline()
    environment["SKEIN_CONTEXT"] = str(work / "dev/context.yaml")
    return process if check("skeind --dev", ready.startswith("skeind ready"), (work / "skeind.log").read_text()) else None


def main():
    page = PAGE.read_text()
    blocks = [(kind.strip(), text) for kind, text in re.findall(r"^```(sh[^\n]*|swift)\n(.*?)^```", page, flags=re.M | re.S)]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = work / "empty"
        folder.mkdir()
        environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "NEWCOMER_PLACE": str(work / "place"),
                       "HOME": str(work)}
        process = None
        for number, (kind, text) in enumerate(blocks, 1):
            if kind == "swift":
                # The page shows another plug-in than the template's: it must build as it stands there.
                shown = folder.parent / "sticky/Sources/Sticky/Sticky.swift"
                shown.write_text("import CSkeinPlugin\nimport SkeinPluginKit\n\n" + text)
                run("cd ../sticky && ./build.sh", folder, environment, "the page's Swift plug-in")
                continue
            if kind == "sh broker":
                if "--no-broker" in sys.argv:
                    continue
                process = broker(work, environment)
                if process is None:
                    break
            place = run(text, folder, environment, f"block {number}: {text.strip().splitlines()[0]}")
            if place is None:
                if process is not None:
                    print((work / "skeind.log").read_text()[-3000:])
                break
            folder = place
        if process is not None:
            process.send_signal(signal.SIGTERM)
            check("the broker ends by itself", process.wait(60) == 0)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
