"""TestService with stock grpcio: a client's stub without generated services, and a server."""

import time
from concurrent import futures

import grpc

SERVICE = "grpc.testing.TestService"
SHAPES = {
    "EmptyCall": ("unary_unary", "Empty", "Empty"),
    "UnaryCall": ("unary_unary", "SimpleRequest", "SimpleResponse"),
    "StreamingInputCall": ("stream_unary", "StreamingInputCallRequest", "StreamingInputCallResponse"),
    "StreamingOutputCall": ("unary_stream", "StreamingOutputCallRequest", "StreamingOutputCallResponse"),
    "FullDuplexCall": ("stream_stream", "StreamingOutputCallRequest", "StreamingOutputCallResponse"),
    "HalfDuplexCall": ("stream_stream", "StreamingOutputCallRequest", "StreamingOutputCallResponse"),
}


class Stub:
    def __init__(self, channel, messages):
        self.channel, self.messages = channel, messages
        for method, (shape, request, response) in SHAPES.items():
            setattr(self, method, self.method(f"/{SERVICE}/{method}", shape, request, response))

    def method(self, path, shape="unary_unary", request="Empty", response="Empty"):
        return getattr(self.channel, shape)(
            path, request_serializer=getattr(self.messages, request).SerializeToString,
            response_deserializer=getattr(self.messages, response).FromString)


class Server:
    """Stock grpcio as the interoperability tests want a server to be. `calls` keeps what it saw of each call."""

    def __init__(self, certificates, messages, **options):
        self.messages, self.calls = messages, []
        self.server = grpc.server(
            futures.ThreadPoolExecutor(8),
            options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20),
                     *options.items()])
        handlers = {}
        for method, (shape, request, response) in SHAPES.items():
            handlers[method] = getattr(grpc, f"{shape}_rpc_method_handler")(
                getattr(self, method), request_deserializer=getattr(messages, request).FromString,
                response_serializer=getattr(messages, response).SerializeToString)
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        self.port = self.server.add_secure_port("localhost:0", certificates.server_credentials())
        self.server.start()

    def stop(self):
        self.server.stop(0).wait()

    # What every method does

    def _begin(self, context):
        metadata = list(context.invocation_metadata())
        self.calls.append({"metadata": metadata, "remaining": context.time_remaining()})
        context.send_initial_metadata([(k, v) for k, v in metadata if k == "x-grpc-test-echo-initial"])
        context.set_trailing_metadata([(k, v) for k, v in metadata if k == "x-grpc-test-echo-trailing-bin"])

    def _status(self, request, context):
        if request.response_status.code:
            code = next(c for c in grpc.StatusCode if c.value[0] == request.response_status.code)
            context.abort(code, request.response_status.message)

    def _compress(self, context, wanted):
        """Before the headers leave."""
        if wanted:
            context.set_compression(grpc.Compression.Gzip)

    def _answers(self, request, context):
        self._status(request, context)
        for parameters in request.response_parameters:
            until = time.monotonic() + parameters.interval_us / 1e6
            while context.is_active() and time.monotonic() < until:
                time.sleep(0.01)
            if not parameters.compressed.value:
                context.disable_next_message_compression()
            body = self.messages.Payload(body=bytes(parameters.size))
            yield self.messages.StreamingOutputCallResponse(payload=body)

    # The methods

    def EmptyCall(self, request, context):
        self._begin(context)
        return self.messages.Empty()

    def UnaryCall(self, request, context):
        self._compress(context, request.response_compressed.value)
        self._begin(context)
        self._status(request, context)
        return self.messages.SimpleResponse(payload=self.messages.Payload(body=bytes(request.response_size)))

    def StreamingInputCall(self, requests, context):
        self._begin(context)
        size = sum(len(request.payload.body) for request in requests)
        return self.messages.StreamingInputCallResponse(aggregated_payload_size=size)

    def StreamingOutputCall(self, request, context):
        self._compress(context, any(each.compressed.value for each in request.response_parameters))
        self._begin(context)
        yield from self._answers(request, context)

    def FullDuplexCall(self, requests, context):
        self._begin(context)
        for request in requests:
            yield from self._answers(request, context)

    def HalfDuplexCall(self, requests, context):
        self._begin(context)
        for request in list(requests):
            yield from self._answers(request, context)
