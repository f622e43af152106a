"""Certificates for both ends, and our end: the program ConformancePeer."""

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[3]
LARGE = 64 << 20


def binary():
    """`CONFORMANCE_PEER`, or what was built last."""
    named = os.environ.get("CONFORMANCE_PEER")
    if named:
        return named
    built = [ROOT / ".build" / kind / "ConformancePeer" for kind in ("release", "debug")]
    built = sorted((path for path in built if path.exists()), key=lambda path: -path.stat().st_mtime)
    assert built, "build it first: swift build --product ConformancePeer"
    return str(built[0])


class Certificates:
    """An authority, a server for localhost and a client, made with the openssl command."""

    def __init__(self, folder):
        self.folder = Path(folder)
        assert shutil.which("openssl"), "the tests need the openssl command"
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
                  "-out", "ca.pem", "-days", "2", "-subj", "/CN=conformance")
        self._sign("server", "subjectAltName=DNS:localhost,IP:127.0.0.1", "serverAuth")
        self._sign("client", "subjectAltName=URI:skein:default/conformance", "clientAuth")

    def _sign(self, name, names, usage):
        (self.folder / f"{name}.ext").write_text(f"{names}\nextendedKeyUsage={usage}\n")
        self._run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                  "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self._run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                  "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")

    def _run(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def read(self, name):
        return (self.folder / name).read_bytes()

    def channel(self, port, options=()):
        credentials = grpc.ssl_channel_credentials(
            self.read("ca.pem"), self.read("client.key"), self.read("client.pem"))
        standard = [("grpc.max_receive_message_length", LARGE), ("grpc.max_send_message_length", LARGE),
                    ("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(f"localhost:{port}", credentials, options=standard + list(options))

    def server_credentials(self):
        return grpc.ssl_server_credentials(
            [(self.read("server.key"), self.read("server.pem"))], self.read("ca.pem"), require_client_auth=True)

    def client_context(self):
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        context.set_alpn_protocols(["h2"])
        return context

    def server_context(self):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        context.set_alpn_protocols(["h2"])
        return context


class PeerServer:
    def __init__(self, certificates):
        self.process = subprocess.Popen(
            [binary(), "server", str(certificates.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("ready port="), f"ConformancePeer said {line!r}"
        self.port = int(line.removeprefix("ready port="))

    def stop(self):
        out, _ = self.process.communicate(input="", timeout=20)
        assert self.process.returncode == 0, f"ConformancePeer ended with {self.process.returncode}: {out}"


def client_case(name, port, certificates, timeout=30):
    """Our client goes through a case against a server at `port`."""
    result = subprocess.run([binary(), "client", name, str(port), str(certificates.folder)],
                            capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0 and result.stdout.splitlines()[-1] == f"ok {name}", result.stdout + result.stderr


class CallResult:
    """How one call of our client ended."""

    def __init__(self, path, port, certificates, milliseconds=20_000, *words):
        result = subprocess.run(
            [binary(), "call", path, str(port), str(certificates.folder), str(milliseconds), *words],
            capture_output=True, text=True, timeout=min(milliseconds / 1000, 20) + 20)
        assert result.returncode == 0, result.stdout + result.stderr
        fields = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
        self.code = next(code for code in grpc.StatusCode if code.value[0] == int(fields["code"]))
        self.message, self.messages = fields["message"], int(fields["messages"])
        self.sizes, self.compressed = fields["sizes"], fields["compressed"]
        self.unprocessed = fields["unprocessed"] == "true"
        self.trailers = {name.removeprefix("trailer "): value for name, value in fields.items()
                         if name.startswith("trailer ")}
