import os

import pytest

import support


@pytest.fixture(scope="session")
def api():
    return support.API()


@pytest.fixture(scope="session")
def broker():
    address = os.environ.get("SKEIN_INTEROP_ADDRESS")
    if address:
        yield support.Broker(address, os.environ["SKEIN_INTEROP_DIR"])
        return
    with support.temporary_directory() as directory:
        broker = support.Broker.start(os.environ["SKEIND"], directory)
        try:
            yield broker
        finally:
            broker.stop()


@pytest.fixture(scope="session")
def client(api, broker):
    with broker.channel() as channel:
        yield support.Client(api, channel)


@pytest.fixture(autouse=True)
def broker_survives(request):
    """Whatever a test sends, the broker must be alive after it; if not, the suite stops there."""
    yield
    if "broker" in request.fixturenames:
        obituary = request.getfixturevalue("broker").obituary()
        if obituary:
            pytest.exit(f"{request.node.nodeid}: {obituary}", returncode=1)
