"""The programs as processes."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 60


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return self.out.splitlines()


class Tool:
    def __init__(self, program, home, **environment):
        self.program = program
        self.home = Path(home)
        self.environment = {
            "HOME": str(home), "XDG_CONFIG_HOME": str(home), "PATH": os.environ["PATH"], "TERM": "xterm",
            **environment}

    def run(self, *arguments, input="", **environment):
        data = input if isinstance(input, bytes) else input.encode()
        done = subprocess.run(
            [self.program, *map(str, arguments)], input=data, capture_output=True, timeout=TIMEOUT,
            env={**self.environment, **environment}, cwd=self.home)
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def ok(self, *arguments, **options):
        result = self.run(*arguments, **options)
        assert result.code == 0, result
        return result

    def start(self, *arguments):
        return subprocess.Popen(
            [self.program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.environment, cwd=self.home)

    def terminal(self, *arguments, until, input=b""):
        """Runs it on a pseudo terminal until `until` stands in its output, then sends ^C."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.home)
            os.execve(self.program, [self.program, *map(str, arguments)], self.environment)
        seen = b""
        deadline = time.monotonic() + TIMEOUT
        try:
            while until not in seen and time.monotonic() < deadline:
                if select.select([terminal], [], [], 0.5)[0]:
                    try:
                        seen += os.read(terminal, 65536)
                    except OSError:
                        break
        finally:
            os.kill(pid, signal.SIGINT)
            os.waitpid(pid, 0)
            os.close(terminal)
        assert until in seen, seen
        return seen


    def tab(self, *words):
        """What bash offers after these words, through the script that the program prints."""
        script = self.home / "skein.bash"
        if not script.exists():
            script.write_text(self.ok("completion", "bash").out)
        line = " ".join(words)
        program = f"""PATH={os.path.dirname(self.program)}:$PATH; source {script}
            COMP_WORDS=({' '.join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}
            COMP_LINE={line!r}; COMP_POINT={len(line)}; COMP_TYPE=9
            _skein skein {words[-1]!r} {words[-2]!r}; printf '%s\\n' "${{COMPREPLY[@]}}" """
        return subprocess.run(
            ["bash", "-c", program], env=self.environment, capture_output=True, text=True, timeout=TIMEOUT).stdout.split()


class Broker:
    """`skeind --dev` in a folder."""

    def __init__(self, program, folder, *arguments):
        self.dev = folder / "dev"
        self.log = open(folder / "skeind.log", "ab")
        self.process = subprocess.Popen(
            [program, "--dev", str(self.dev), "--listen", "127.0.0.1:0", "--operations", "127.0.0.1:0",
             *arguments], stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("skeind ready"), (line, (folder / "skeind.log").read_text()[-2000:])
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        self.address, self.operations = words["grpc"], words["operations"]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.log.close()
