"""Real servers of Debian's packages on loopback, with TLS, in a folder of their own; certificates; a proxy that misbehaves."""

import os
import pathlib
import pwd
import select
import signal
import socket
import subprocess
import threading
import time

POSTGRES = next(iter(sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), pathlib.Path("/nonexistent"))

PSQL = [str(POSTGRES / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")
    return done.stdout


class Authority:
    """A certificate authority, and what it signs."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = folder, name
        self.file = folder / f"{name}.crt"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            f"/CN=Test authority {name}", "-keyout", folder / f"{name}.key", "-out", self.file)

    def issue(self, name, alternatives):
        key, request, certificate = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", key,
            "-out", request)
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternatives}\n")
        run("openssl", "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.folder / f"{self.name}.key", "-CAcreateserial",
            "-days", "2", "-extfile", extensions, "-out", certificate)
        return certificate, key


def bound(command, name="KILL"):
    """The command as a process that gets this signal when we end, however that is."""
    return ["setpriv", "--pdeathsig", name, *map(str, command)]


class Server:
    """A process of ours, ended by its pid."""

    process = None

    def kill(self):
        """kill -9."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class Postgres(Server):
    """One cluster. Runs as the user `postgres` where we are root, which the server refuses to be."""

    def __init__(self, folder, authority, data=None, names="DNS:localhost,IP:127.0.0.1"):
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.data = data or folder / "data"
        self.user = "postgres" if os.geteuid() == 0 else None
        certificate, key = authority.issue(f"postgres-{self.port}", names)
        self.tls = (folder / "server.crt", folder / "server.key")
        self.tls[0].write_bytes(certificate.read_bytes())
        self.tls[1].write_bytes(key.read_bytes())
        self.tls[1].chmod(0o600)
        (folder / "password").write_text("admin-password\n")
        if self.user:
            who = pwd.getpwnam(self.user)
            for path in (folder, *folder.iterdir()):
                os.chown(path, who.pw_uid, who.pw_gid)
        self._run("initdb", "-D", self.data, "-U", "admin", "-A", "scram-sha-256", f"--pwfile={folder}/password", "--no-sync", "-E", "UTF8",
                  "--no-locale", "--no-instructions")
        (folder / "hba").write_text(
            "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 reject\n")

    def _as(self):
        return dict(user=self.user, group=self.user, extra_groups=[]) if self.user else {}

    def _run(self, program, *arguments):
        return run(POSTGRES / program, *arguments, cwd=self.folder, **self._as())

    def start(self, *more):
        options = ["listen_addresses=127.0.0.1", "ssl=on", f"ssl_cert_file={self.tls[0]}", f"ssl_key_file={self.tls[1]}",
                   f"hba_file={self.folder}/hba", f"unix_socket_directories={self.folder}", "shared_buffers=16MB", "max_connections=40",
                   "logging_collector=off", "autovacuum=off", "max_wal_size=64MB", "min_wal_size=32MB", *more]
        command = [str(POSTGRES / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for option in options:
            command += ["-c", option]
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(bound(command, "QUIT"), stdout=self.log, stderr=self.log, cwd=self.folder, **self._as())
        self.wait()
        return self

    def wait(self, seconds=30):
        end = time.monotonic() + seconds
        while subprocess.run([str(POSTGRES / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port)]).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("postgres does not start: " + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self):
        """Fast shutdown."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(10)
            self.process = None

    def kill(self):
        """kill -9 of the server and of its children, which it cannot end any more."""
        children = run("ps", "-o", "pid=", "--ppid", self.process.pid).split() if self.process else []
        super().kill()
        for child in children:
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _environment(self, database, user, password):
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": user, "PGPASSWORD": password, "PGDATABASE": database,
                "PGSSLMODE": "require", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}

    def session(self, database, user, password):
        """A psql that does what comes by its `stdin`."""
        return subprocess.Popen(
            bound(PSQL), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            env=self._environment(database, user, password))

    def sql(self, text, database="postgres", user="admin", password="admin-password", check=True):
        """Runs statements over TLS; the output, and with check=False the error instead of an exception."""
        done = subprocess.run(
            PSQL, input=text, capture_output=True, text=True, timeout=60, env=self._environment(database, user, password))
        if check and done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout.strip() if done.returncode == 0 else done.stderr


class Redis(Server):
    client = None  # certificate and key of redis-cli

    def __init__(self, folder, authority, names="DNS:localhost,IP:127.0.0.1"):
        self.folder, self.port, self.authority = folder, free_port(), authority
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = authority.issue(f"redis-{self.port}", names)
        self.acl = folder / "users.acl"
        self.acl.write_text("")

    def start(self, *more):
        options = {"port": 0, "tls-port": self.port, "bind": "127.0.0.1", "tls-cert-file": self.certificate, "tls-key-file": self.key,
                   "tls-ca-cert-file": self.authority.file, "tls-auth-clients": "no", "tls-replication": "yes", "dir": self.folder,
                   "appendonly": "yes", "appendfsync": "always", "save": "", "aclfile": self.acl, "daemonize": "no",
                   "repl-diskless-sync-delay": 0, "logfile": self.folder / "log"}
        options.update(zip(more[::2], more[1::2]))
        command = ["redis-server"]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self.process = subprocess.Popen(bound(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while "PONG" not in self.cli("ping") and "NOAUTH" not in self.cli("ping"):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("redis does not start: " + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)
        return self

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
            self.process = None

    def cli(self, *command):
        done = subprocess.run(
            ["redis-cli", "--no-auth-warning", "-h", "127.0.0.1", "-p", str(self.port), "--tls", "--cacert", str(self.authority.file),
             *(["--cert", str(self.client[0]), "--key", str(self.client[1])] if self.client else []),
             "--user", "admin", "-a", "admin-password", *map(str, command)], capture_output=True, text=True, timeout=30)
        return done.stdout + done.stderr


class Proxy:
    """TCP from a port of its own to another. `mode`: pass, hold (connections stay, nothing moves), slow (each piece waits
    `delay`), cut (connections end, new ones are refused)."""

    def __init__(self, target, delay=0.3):
        self.target, self.delay, self.mode, self.open, self.bytes = target, delay, "pass", set(), 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode):
        self.mode = mode
        if mode == "cut":
            self.drop()

    def drop(self):
        with self.lock:
            ends, self.open = self.open, set()
        for end in ends:
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        self.set("cut")

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.mode == "cut":
                    raise OSError
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                client.close()
                continue
            with self.lock:
                self.open |= {client, server}
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    def _carry(self, source, sink):
        try:
            while True:
                if not select.select([source], [], [], 0.05)[0] or self.mode == "hold":
                    if self.mode == "hold":
                        time.sleep(0.02)
                    if source.fileno() < 0:
                        return
                    continue
                piece = source.recv(65536)
                if not piece:
                    break
                if self.mode == "slow":
                    time.sleep(self.delay)
                while self.mode == "hold":
                    time.sleep(0.02)
                self.bytes += len(piece)
                sink.sendall(piece)
        except (OSError, ValueError):
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            with self.lock:
                self.open -= {source}
            source.close()
