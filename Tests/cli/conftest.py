import os
import tempfile
from pathlib import Path

import pytest

from tools import Broker, Tool


@pytest.fixture(scope="session")
def broker():
    with tempfile.TemporaryDirectory(prefix="skein-cli-") as folder:
        broker = Broker(os.environ["SKEIND"], Path(folder))
        try:
            yield broker
        finally:
            broker.stop()


@pytest.fixture
def alone(tmp_path):
    """The program without a broker: a home of its own, no context."""
    return Tool(os.environ["SKEIN"], tmp_path)


@pytest.fixture
def skein(broker, tmp_path):
    """The program with the broker's context."""
    return Tool(os.environ["SKEIN"], tmp_path, SKEIN_CONTEXT=str(broker.dev / "context.yaml"))


@pytest.fixture
def topic(skein, request):
    """A fresh topic of three partitions."""
    name = "t-" + request.node.name.replace("[", "-").replace("]", "").replace("_", "-")[:80]
    name = "".join(c for c in name if c.isalnum() or c in "-.")
    skein.ok("topic", "create", name, "--partitions", "3")
    return name
