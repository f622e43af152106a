"""The reflection service, asked by grpcio-reflection's own client and descriptor database."""

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


@pytest.fixture
def channel(broker):
    with broker.channel() as channel:
        yield channel


@pytest.fixture
def database(channel):
    return ProtoReflectionDescriptorDatabase(channel)


def test_services_are_listed(database):
    names = set(database.get_services())
    assert {"skein.v1.Topics", "skein.v1.Producer", "skein.v1.Consumer", "skein.v1.Cluster",
            "grpc.health.v1.Health"} <= names


def test_a_client_can_be_built_from_what_is_served(database, channel):
    """As grpcurl does: nothing but the address is known, the call is made from served descriptors."""
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("skein.v1.Cluster")
    method = service.methods_by_name["Describe"]
    from google.protobuf.message_factory import GetMessageClass
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = channel.unary_unary(
        f"/{service.full_name}/{method.name}", request_serializer=request.SerializeToString,
        response_deserializer=response.FromString)
    answer = call(request(), timeout=10)
    assert answer.tenant == "default" and answer.limits.max_message_bytes == 16 << 20
    # Every service that is listed can be described, with every message that it uses.
    for name in database.get_services():
        if name.startswith("skein."):
            for each in pool.FindServiceByName(name).methods:
                assert each.input_type.fields is not None and each.output_type.full_name


def test_what_is_not_there_is_not_found(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    questions = [
        reflection_pb2.ServerReflectionRequest(file_by_filename="nothing.proto"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="etcdserverpb.KV"),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="skein.v1.Nothing"),
        reflection_pb2.ServerReflectionRequest(
            file_containing_extension=reflection_pb2.ExtensionRequest(
                containing_type="skein.v1.Record", extension_number=9)),
    ]
    for answer in stub.ServerReflectionInfo(iter(questions), timeout=10):
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
