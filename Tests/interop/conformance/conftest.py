"""Fixtures of the conformance table, and the marker that makes a row of Docs/conformance.md out of a test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

import peers  # noqa: E402
import rows  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "row(behaviour, source, direction): the test's row in Docs/conformance.md")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    mine = [item for item in items if FOLDER in Path(item.path).parents]
    config.stash[rows.COLLECTED] = [rows.Row.of(item) for item in mine if rows.is_row(item)]
    if path := os.environ.get("CONFORMANCE_ROWS"):
        Path(path).write_text(json.dumps([vars(row) for row in config.stash[rows.COLLECTED]]))


def pytest_terminal_summary(terminalreporter, config):
    collected = config.stash.get(rows.COLLECTED, [])
    if collected:
        documented = rows.documented()
        terminalreporter.write_line(
            f"conformance: {len(collected)} rows run, {len(documented)} in Docs/conformance.md")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return peers.Certificates(tmp_path_factory.mktemp("conformance-tls"))


@pytest.fixture(scope="session")
def messages(tmp_path_factory):
    """The generated module of conformance_testing.proto."""
    out = tmp_path_factory.mktemp("conformance-stubs")
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{FOLDER}", f"--python_out={out}",
         str(FOLDER / "conformance_testing.proto")], check=True)
    sys.path.insert(0, str(out))
    import conformance_testing_pb2
    return conformance_testing_pb2


@pytest.fixture(scope="session")
def peer_server(certificates):
    """Our server, in a process of its own; it must be alive at the end."""
    server = peers.PeerServer(certificates)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def stub(peer_server, certificates, messages):
    """Stock grpcio as a client of our server."""
    import stock
    with certificates.channel(peer_server.port) as channel:
        yield stock.Stub(channel, messages)


@pytest.fixture(scope="session")
def stock_server(certificates, messages):
    """Stock grpcio as a server for our client."""
    import stock
    server = stock.Server(certificates, messages)
    yield server
    server.stop()


@pytest.fixture
def raw(peer_server, certificates):
    """A client that says anything that HTTP/2 can carry, to our server."""
    import raw_http2
    with raw_http2.Client("localhost", peer_server.port, certificates.client_context()) as client:
        yield client
