"""Stubs for Proto/, generated at run time with stock grpcio-tools into .interop/stubs."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / ".interop" / "stubs"
PROTO = ROOT / "Proto"


def proto_files():
    return sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))


def generate():
    STUBS.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={STUBS}",
         f"--grpc_python_out={STUBS}", *proto_files()], check=True)
    if str(STUBS) not in sys.path:
        sys.path.insert(0, str(STUBS))


def load(proto_file, suffix="_pb2"):
    """The generated module of a .proto file.

    By path, because `grpc.health.v1` lies in a folder named like the installed package `grpc`.
    """
    stem = proto_file[: -len(".proto")] + suffix
    if not stem.startswith("grpc/"):
        return importlib.import_module(stem.replace("/", "."))
    name = "stub_" + stem.replace("/", "_")
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, STUBS / (stem + ".py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def all_message_classes():
    """The classes of every message below Proto/, nested ones included, map entries not."""
    from google.protobuf import message_factory

    generate()
    found = []

    def visit(descriptor):
        if not descriptor.GetOptions().map_entry:
            found.append(message_factory.GetMessageClass(descriptor))
        for nested in descriptor.nested_types:
            visit(nested)

    for file in proto_files():
        for descriptor in load(file).DESCRIPTOR.message_types_by_name.values():
            visit(descriptor)
    return found
