"""Runs the code blocks of README.md's tour; see newcomer.sh."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".build" / "newcomer"
HOME = WORK / "home"
LIMIT = 1200  # seconds for one command

# What a command that contains the text must print: the tour is of no use if it runs and shows nothing.
EXPECTED = {
    "skein doctor": r"all is well",
    "skein topic create orders": r"created orders",
    "skein consume orders --format key-value": r"(?s)alice\tone apple\n.*alice\tthree plums",
    "skein consume orders --follow": r'"key":"alice"',
    "skein topic describe orders": r"murmur2",
    "skein topic tail orders": r"bob two pears",
    "skein bench produce": r"100000 ",
    "/metrics": r"high_watermark\{",
    "swift run": r"(?s)partition \d+, offset \d+.*one apple",
    "orders.py": r"five kiwis",
}


def blocks():
    """(language, file or None, text) of every code block of the tour, in order."""
    text = (ROOT / "README.md").read_text()
    tour = re.search(r"^## Five minutes\n(.*?)^## ", text, re.S | re.M).group(1)
    for match in re.finditer(r"(?:^`(~/[^`]+)`:\n)?^```(\w+)\n(.*?)^```$", tour, re.S | re.M):
        yield match.group(2), match.group(1), match.group(3)


def commands(text):
    """The lines of a shell block; one that ends with a backslash goes on."""
    command = ""
    for line in text.splitlines():
        command += line + "\n"
        if not line.endswith("\\"):
            if command.strip():
                yield command.strip()
            command = ""


class Shell:
    """One terminal: a bash that lives as long as the tour, so that `cd` and `export` last."""

    def __init__(self, environment):
        self.status, theirs = os.pipe()
        self.log = open(WORK / "terminal.log", "w+b")
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], stdin=subprocess.PIPE, stdout=self.log, stderr=subprocess.STDOUT,
            env=environment, cwd=HOME, pass_fds=[theirs], start_new_session=True)
        self.theirs = theirs

    def run(self, command):
        """(exit code, what it printed)."""
        start = self.log.seek(0, os.SEEK_END)
        self.process.stdin.write(f"set -o pipefail\n{command}\necho $? >&{self.theirs}\n".encode())
        self.process.stdin.flush()
        os.set_blocking(self.status, False)
        deadline, answer = time.monotonic() + LIMIT, b""
        while not answer.endswith(b"\n"):
            if time.monotonic() > deadline or self.process.poll() is not None:
                return 124, self.read(start) + "\n(did not end)"
            try:
                answer += os.read(self.status, 16)
            except BlockingIOError:
                time.sleep(0.05)
        return int(answer), self.read(start)

    def read(self, start):
        return os.pread(self.log.fileno(), 1 << 20, start).decode(errors="replace")

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


class Tour:
    def __init__(self, with_swift):
        self.with_swift = with_swift
        self.broker = None
        self.ports = {}
        self.good = self.bad = 0
        self.seen = set()
        built = os.environ.get("SKEIN_NEWCOMER_BIN")
        self.built = str(Path(built).resolve()) if built else None
        real = Path.home()
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG", "USER") if name in os.environ}, "HOME": str(HOME),
            # Only downloads and builds are shared with the machine's user.
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(real / ".cache")),
            "SWIFTPM_BUILD_DIR": str(WORK / "swift"), "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def run(self):
        shutil.rmtree(HOME, ignore_errors=True)
        HOME.mkdir(parents=True)
        (HOME / "skein").symlink_to(ROOT)
        shell = Shell(self.environment)
        try:
            for language, file, text in blocks():
                if file:
                    path = HOME / self.adapt(file).removeprefix("~/")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(self.adapt(text))
                elif language == "sh":
                    for command in commands(text):
                        self.step(shell, command)
                else:
                    self.check(False, f"a block in {language} that says no file", text)
        finally:
            shell.close()
            self.stop()
        for text in EXPECTED:
            if text not in self.seen and (self.with_swift or text != "swift run"):
                self.check(False, f"README.md no longer shows `{text}`", "")

    def adapt(self, text):
        """Other ports; programs that stand elsewhere."""
        for port, address in self.ports.items():
            text = text.replace(f"127.0.0.1:{port}", address)
        return text.replace("$PWD/.build/release", self.built).replace(".build/release", self.built) if self.built else text

    def step(self, shell, command):
        started = time.monotonic()
        if command == "cd ~/skein && make build" and self.built:
            command = "cd ~/skein"
        if "skeind --dev" in command:
            return self.start(command)
        if command.startswith("swift ") and not self.with_swift:
            return print(f"  skipped: {command}")
        adapted = self.adapt(command)
        if "--follow" in command:
            adapted = "timeout --preserve-status -s INT 5 " + adapted
        code, output = shell.run(adapted)
        expected = [(text, pattern) for text, pattern in EXPECTED.items() if text in command]
        self.seen.update(text for text, _ in expected)
        missing = [pattern for _, pattern in expected if not re.search(pattern, output)]
        why = f"exit code {code}" if code else f"did not print {missing}" if missing else ""
        self.check(not why, f"{command.splitlines()[0]}  ({time.monotonic() - started:.0f} s) {why}", output)

    def start(self, command):
        """The first terminal."""
        log = open(WORK / "skeind.log", "wb")
        self.broker = subprocess.Popen(
            ["bash", "-c", "exec " + self.adapt(command)], cwd=HOME / "skein", stdout=subprocess.PIPE, stderr=log, text=True,
            env={**self.environment, "SKEIN_LISTEN": "127.0.0.1:0", "SKEIN_OPERATIONS": "127.0.0.1:0"})
        ready = self.broker.stdout.readline()
        words = dict(word.split("=", 1) for word in ready.split() if "=" in word)
        self.ports = {"7600": words.get("grpc", ""), "7601": words.get("operations", "")}
        self.check(ready.startswith("skeind ready"), command, ready + (WORK / "skeind.log").read_text()[-2000:])
        if not ready:
            raise SystemExit(f"{self.good} passed, {self.bad} failed")

    def stop(self):
        if self.broker and self.broker.poll() is None:
            self.broker.terminate()
            try:
                self.check(self.broker.wait(30) == 0, "the broker stops on SIGTERM", "")
            except subprocess.TimeoutExpired:
                self.broker.kill()
                self.check(False, "the broker stops on SIGTERM", "")

    def check(self, ok, what, output):
        self.good, self.bad = self.good + ok, self.bad + (not ok)
        print(f"  {'ok' if ok else 'FAILED'}: {what}", flush=True)
        if not ok and output:
            print("    " + "\n    ".join(output.splitlines()[-40:]), flush=True)


def main():
    unknown = [a for a in sys.argv[1:] if a != "--no-swift"]
    if unknown:
        sys.exit(f"unknown argument {unknown[0]}; see newcomer.sh")
    tour = Tour("--no-swift" not in sys.argv)
    tour.run()
    print(f"{tour.good} passed, {tour.bad} failed")
    sys.exit(0 if tour.bad == 0 and tour.good > 0 else 1)


if __name__ == "__main__":
    main()
