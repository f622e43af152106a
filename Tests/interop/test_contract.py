"""Our Proto/ beside the stubs that other libraries bring."""

import subprocess
import sys

import pytest

import stubs

OURS = """
import importlib.util, sys
def ours(name):
    spec = importlib.util.spec_from_file_location("ours_" + name, sys.argv[1] + f"/google/rpc/{name}_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
"""
THEIRS = "from google.rpc import status_pb2, error_details_pb2; import grpc_status.rpc_status\n"


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_public_error_types_are_identical(api, order):
    """One descriptor pool takes both copies only if they are the same."""
    load = "mine = [ours('status'), ours('error_details')]\n"
    check = (
        "theirs = [status_pb2, error_details_pb2]\n"
        "assert 'site-packages' in status_pb2.__file__\n"
        "for a, b in zip(mine, theirs):\n"
        "    assert a.DESCRIPTOR.serialized_pb == b.DESCRIPTOR.serialized_pb\n"
        "print('identical')\n")
    steps = OURS + (load + THEIRS if order == "ours first" else THEIRS + load) + check
    result = subprocess.run(
        [sys.executable, "-c", steps, str(stubs.STUBS)], capture_output=True, text=True)
    assert result.stdout.strip() == "identical", result.stderr
