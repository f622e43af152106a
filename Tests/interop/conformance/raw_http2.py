"""HTTP/2 without gRPC's manners: a client that sends any header, and a server that answers anything."""

import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

PATIENCE = 10


def head(path="/grpc.testing.TestService/EmptyCall", without=(), add=(), **changes):
    """The headers of a proper call, with `changes` (`_` for `-`, pseudo headers without their colon)."""
    fields = {":method": "POST", ":scheme": "https", ":path": path, ":authority": "localhost",
              "te": "trailers", "content-type": "application/grpc"}
    for name, value in changes.items():
        fields[f":{name}" if f":{name}" in fields else name.replace("_", "-")] = value
    return [(name, value) for name, value in fields.items() if name not in without] + list(add)


def message(payload=b"", flag=0):
    return bytes([flag]) + len(payload).to_bytes(4, "big") + payload


class Answer:
    """What came on one stream, and on the connection meanwhile."""

    def __init__(self):
        self.interim, self.headers, self.trailers, self.data = [], None, None, b""
        self.ended, self.reset, self.goaway, self.closed = False, None, None, False

    def header(self, name):
        """From the trailers, or from the headers of an answer that is nothing else."""
        for fields in (self.trailers, self.headers):
            if fields and name in fields:
                return fields[name]
        return None

    @property
    def http(self):
        return self.headers and self.headers.get(":status")

    @property
    def status(self):
        value = self.header("grpc-status")
        return None if value is None else int(value)

    def __repr__(self):
        return f"{vars(self)}"


def _fields(event):
    return {name.decode("latin-1") if isinstance(name, bytes) else name:
            value.decode("latin-1") if isinstance(value, bytes) else value for name, value in event.headers}


def announce(connection, settings):
    """SETTINGS that hold from the first frame on (h2 changes others only once they are acknowledged)."""
    if settings:
        client = connection.config.client_side
        connection.local_settings = h2.settings.Settings(client=client, initial_values={
            h2.settings.SettingCodes.ENABLE_PUSH: 0, **settings})
        connection.decoder.max_allowed_table_size = connection.local_settings.header_table_size


class Client:
    def __init__(self, host, port, context, settings=None):
        self.socket = context.wrap_socket(socket.create_connection((host, port), PATIENCE), server_hostname=host)
        assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding=None, validate_outbound_headers=False,
            normalize_outbound_headers=False))
        announce(self.h2, settings)
        self.h2.initiate_connection()
        self.answers, self.pongs, self.largest_data = {}, [], 0
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def begin(self, headers, end=False):
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, headers, end_stream=end)
        self.flush()
        return stream

    def send(self, stream, data, end=False):
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def call(self, headers=None, body=None):
        """A unary call with one empty message, unless told otherwise, and its answer."""
        stream = self.begin(headers or head())
        self.send(stream, message() if body is None else body, end=True)
        return self.answer(stream)

    def answer(self, stream):
        """Waits for the end of the stream or of the connection."""
        answer, until = self.answers[stream], time.monotonic() + PATIENCE
        while not (answer.ended or answer.reset is not None or answer.closed):
            self.socket.settimeout(max(until - time.monotonic(), 0.01))
            self._take(self._read())
        return answer

    def _read(self):
        try:
            return self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError, BrokenPipeError):
            return b""

    def _take(self, data):
        if not data:
            for answer in self.answers.values():
                answer.closed = True
            return
        for event in self.h2.receive_data(data):
            stream = getattr(event, "stream_id", None)
            answer = self.answers.get(stream)
            if isinstance(event, h2.events.ConnectionTerminated):
                for each in self.answers.values():
                    each.goaway = int(event.error_code)
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs.append(event.ping_data)
            elif answer is None:
                continue
            elif isinstance(event, h2.events.ResponseReceived):
                answer.headers = _fields(event)
            elif isinstance(event, h2.events.TrailersReceived):
                answer.trailers = _fields(event)
            elif isinstance(event, h2.events.DataReceived):
                answer.data += event.data
                self.largest_data = max(self.largest_data, len(event.data))
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                answer.ended = True
            elif isinstance(event, h2.events.StreamReset):
                if not answer.ended:
                    answer.reset = int(event.error_code)
        try:
            self.flush()
        except OSError:
            pass


class Server:
    """Answers the first request of each connection with `script(h2 connection, stream)`."""

    def __init__(self, context, script, settings=None, body=None, pongs=None):
        self.context, self.script, self.settings = context, script, settings
        self.body = body if body is not None else []
        self.pongs = pongs if pongs is not None else []
        self.requests = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(PATIENCE)

    def _serve(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True) as connection:
                    connection.settimeout(PATIENCE)
                    self._converse(connection)
            except (OSError, h2.exceptions.ProtocolError):
                pass

    def _converse(self, connection):
        session = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding=None, validate_outbound_headers=False,
            normalize_outbound_headers=False))
        announce(session, self.settings)
        session.initiate_connection()
        connection.sendall(session.data_to_send())
        while data := connection.recv(65536):
            for event in session.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.requests.append(_fields(event))
                if isinstance(event, h2.events.DataReceived):
                    self.body.append(event.data)
                    session.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, h2.events.PingAckReceived):
                    self.pongs.append(event.ping_data)
                if isinstance(event, h2.events.StreamEnded):
                    self.script(session, event.stream_id)
            connection.sendall(session.data_to_send())
