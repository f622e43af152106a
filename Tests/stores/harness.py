"""What the tests of both stores share: a list of tests that runs itself, the programs, and the checks that go through them."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from servers import bound

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEADLINE_GRACE = 0.3  # seconds; threads wake late on a busy machine


class Skipped(Exception):
    pass


class Tests:
    """Runs functions in the order in which they were added. More than one count a test: what it returns, if a number."""

    def __init__(self):
        self.all, self.passed, self.failed = [], 0, 0

    def __call__(self, function):
        self.all.append(function)
        return function

    def run(self, wanted=()):
        for function in self.all:
            name = function.__name__.replace("_", " ")
            if wanted and not any(word in function.__name__ for word in wanted):
                continue
            start = time.monotonic()
            try:
                count = function() or 1
                self.passed += count
                print(f"ok     {name}  ({time.monotonic() - start:.1f} s{f', {count} cases' if count > 1 else ''})", flush=True)
            except Skipped as skipped:
                print(f"-      {name}: left out: {skipped}", flush=True)
            except Exception:  # noqa: BLE001: whatever it is, this test failed
                self.failed += 1
                print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


class Programs:
    """The built programs, and one plug-in with its configuration file."""

    def __init__(self, folder, plugins, name, work):
        self.bin, self.name, self.work = pathlib.Path(folder), name, work
        self.plugin = pathlib.Path(plugins) / name / "plugin.so"
        self.id = f"com.skein.{name}@1.0.0"

    def config_file(self, config):
        number, path = tempfile.mkstemp(suffix=".json", dir=self.work)
        with os.fdopen(number, "w") as file:
            json.dump(config, file)
        return path

    def driver(self, what, config, *more):
        return bound([self.bin / "StoreDriver", what, "--plugin", self.plugin, "--id", self.id, "--config", self.config_file(config),
                      "--host", self.bin / "skein-plugin-host", "--network", "--path", self.work, *more])

    def suite(self, config):
        """The suite of every store, through a real child in its sandbox."""
        run = subprocess.run(self.driver("suite", config), capture_output=True, text=True, timeout=200)
        rows = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        broken = [f"{row['case']}: {row['broken']}" for row in rows if not row["ok"]]
        assert run.returncode == 0 and not broken and len(rows) >= 20, (run.returncode, broken, len(rows), run.stderr[-2000:])
        return len(rows)

    def kit(self, config):
        """`skein plugin test`."""
        command = bound([self.bin / "skein", "plugin", "test", self.plugin, "--fuzz-seconds", "1", "--report", "-"])
        run = subprocess.run(command + (["--config", json.dumps(config)] if config else []), capture_output=True, text=True, timeout=200)
        return json.loads(run.stdout)["checks"]

    def kit_passes(self, config):
        rows = self.kit(config)
        bad = [row for row in rows if row["result"] != "passed"]
        assert not bad, bad
        return len(rows)

    def kit_without_server(self):
        rows = self.kit(None)
        assert not [row for row in rows if row["result"] == "failed"], rows
        first = next(row for row in rows if row["name"] == "store.read-your-write")
        assert first["result"] == "skipped" and "does not answer" in first["cause"], first
        assert sum(row["result"] == "passed" for row in rows) >= 25

    @contextlib.contextmanager
    def committing(self, config, group, *more):
        """A member that commits all the time, through a real child. Gives what was acknowledged."""
        command = self.driver("commit", config, "--group", group, "--deadline", "1500", *more)
        member = Member(command, self.work / f"{group}.acked")
        try:
            yield member
        finally:
            member.stop()

    def verify(self, config, group, member):
        """Nothing that was acknowledged is missing."""
        assert member.count > 0
        run = subprocess.run(self.driver("verify", config, "--group", group, "--acked", str(member.file)), capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]


class Member:
    def __init__(self, command, file):
        self.file, self.count, self.failures, self.condition = file, 0, [], threading.Condition()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.out = open(file, "w")
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.condition:
                if line.startswith("acked"):
                    self.out.write(line)
                    self.count += 1
                elif line.startswith("failed"):
                    self.failures.append(line.strip())
                self.condition.notify_all()

    def wait(self, more, seconds=20):
        """Until `more` commits have been acknowledged; how long that took."""
        start, goal = time.monotonic(), self.count + more
        with self.condition:
            if not self.condition.wait_for(lambda: self.count >= goal, seconds):
                raise AssertionError(f"{self.count} of {goal} acknowledged after {seconds} s; last failures: {self.failures[-3:]}")
        return time.monotonic() - start

    def wait_failure(self, seconds=20):
        goal = len(self.failures) + 1
        with self.condition:
            assert self.condition.wait_for(lambda: len(self.failures) >= goal, seconds), "no commit failed"

    def stop(self):
        if self.process is None:
            return
        self.process.stdin.close()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(10)
        self.out.close()
        self.process = None


@contextlib.contextmanager
def small_disk(folder, megabytes, owner=None):
    """A file system of its own in memory."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "skein-stores", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Skipped(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        if owner:
            shutil.chown(folder, owner, owner)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Takes the rest of a disk."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:
        size = 1 << 20
        while size >= 512:
            try:
                if file.write(b"x" * size) < size:
                    size //= 2
            except OSError:
                size //= 2
    return path


def raises(kind, body):
    try:
        body()
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


def left_over(work):
    """Ends whatever still runs from our folder; their command lines."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(work) in line and int(folder.name) != os.getpid():
                found.append(line.strip())
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended
    return found


def main(tests, make):
    """`FILE PROGRAMS PLUGINS [TEST…]`; `make(programs, plugins, work, ends)` gets ready what the tests need, and leaves in
    `ends` (an ExitStack) what ends it, also when it fails half-way."""
    programs, plugins = sys.argv[1:3]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    os.environ.pop("LD_PRELOAD", None)  # a sanitizer's run time, for plug-ins that were built with it: not for the servers
    # In memory where there is room: a server that was killed first flushes each of its thousand files. What kill -9 leaves is
    # the same.
    shm = pathlib.Path("/dev/shm")
    roomy = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 1 << 30
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"skein-stores-{os.environ.get('SKEIN_STORES_RUN', os.getpid())}-", dir=shm if roomy else None))
    work.chmod(0o755)
    code, rest = 1, []
    try:
        with contextlib.ExitStack() as ends:
            make(programs, plugins, work, ends)
            code = tests.run(sys.argv[3:])
    finally:
        rest = left_over(work)
        if os.environ.get("SKEIN_KEEP"):
            print(work)
        else:
            shutil.rmtree(work, ignore_errors=True)
    for line in rest:
        print(f"still running at the end: {line[:200]}")
    return 1 if rest else code
