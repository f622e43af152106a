import NIOCore
import SkeinCore
import Transport

/// The interoperability test cases, as our client goes through them.
struct ClientCases {
  let connection: GRPCConnection

  static let all: [String: @Sendable (ClientCases) async throws -> Void] = [
    "empty_unary": { try await $0.emptyUnary() },
    "large_unary": { try await $0.largeUnary() },
    "client_streaming": { try await $0.clientStreaming() },
    "server_streaming": { try await $0.serverStreaming() },
    "ping_pong": { try await $0.pingPong() },
    "half_duplex": { try await $0.halfDuplex() },
    "empty_stream": { try await $0.emptyStream() },
    "custom_metadata": { try await $0.customMetadata() },
    "status_code_and_message": { try await $0.statusCodeAndMessage("test status message") },
    "special_status_message": {
      try await $0.statusCodeAndMessage(
        "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈 100%\t\n")
    },
    "unimplemented_method": { try await $0.unimplemented("/grpc.testing.TestService/UnimplementedCall") },
    "unimplemented_service": {
      try await $0.unimplemented("/grpc.testing.UnimplementedService/UnimplementedCall")
    },
    "cancel_after_begin": { try await $0.cancelAfterBegin() },
    "cancel_after_first_response": { try await $0.cancelAfterFirstResponse() },
    "timeout_on_sleeping_server": { try await $0.timeoutOnSleepingServer() },
    "client_compressed_unary": { try await $0.clientCompressedUnary() },
    "client_compressed_streaming": { try await $0.clientCompressedStreaming() },
    "server_compressed_unary": { try await $0.serverCompressedUnary() },
    "server_compressed_streaming": { try await $0.serverCompressedStreaming() },
    "max_message_size": { try await $0.maxMessageSize() },
  ]

  private func open(
    _ method: String, _ metadata: Metadata = Metadata(), within: TimeAmount = .seconds(20),
    compresses: Bool = false
  ) -> Conversation {
    Conversation(
      connection, TestService.prefix + method, metadata, deadline: .now() + within, compresses: compresses)
  }

  private func unary(_ method: String, _ request: [UInt8], _ metadata: Metadata = Metadata()) async
    -> ([[UInt8]], Conversation.End)
  {
    let call = open(method, metadata)
    call.send(request)
    call.end()
    return await call.rest()
  }

  private func succeeded(_ end: Conversation.End) throws {
    try expect(end.status.code == .ok, "status \(end.status)")
  }

  // MARK: The four shapes

  private func emptyUnary() async throws {
    let (messages, end) = await unary("EmptyCall", [])
    try succeeded(end)
    try expect(messages == [[]], "messages \(messages)")
  }

  private func largeUnary() async throws {
    let request = Request(responseSize: 314_159, payload: [UInt8](repeating: 0, count: 271_828))
    let (messages, end) = await unary("UnaryCall", request.encoded)
    try succeeded(end)
    try expect(messages.count == 1, "\(messages.count) messages")
    try expect(Response.body(messages[0]) == [UInt8](repeating: 0, count: 314_159), "the body differs")
  }

  private func clientStreaming() async throws {
    let call = open("StreamingInputCall")
    for size in [27_182, 8, 1_828, 45_904] {
      var request: [UInt8] = []
      Protobuf.append(1, bytes: Request.payload([UInt8](repeating: 0, count: size)), to: &request)
      call.send(request)
    }
    call.end()
    let (messages, end) = await call.rest()
    try succeeded(end)
    try expect(messages.count == 1 && Response.aggregate(messages[0]) == 74_922, "messages \(messages)")
  }

  private static let answerSizes = [31_415, 9, 2_653, 58_979]
  private static let requestSizes = [27_182, 8, 1_828, 45_904]

  private func serverStreaming() async throws {
    let request = Request(parameters: Self.answerSizes.map { ResponseParameters(size: $0) })
    let (messages, end) = await unary("StreamingOutputCall", request.encoded)
    try succeeded(end)
    try expect(
      messages.map { Response.body($0)?.count } == Self.answerSizes, "sizes \(messages.map(\.count))")
  }

  private func pingPong() async throws {
    let call = open("FullDuplexCall")
    for (answer, request) in zip(Self.answerSizes, Self.requestSizes) {
      call.send(
        Request(
          payload: [UInt8](repeating: 0, count: request), parameters: [ResponseParameters(size: answer)]
        ).encoded)
      let message = await call.message()
      try expect(
        message.flatMap { Response.body($0)?.count } == answer, "an answer of \(message?.count ?? -1)")
    }
    call.end()
    let (messages, end) = await call.rest()
    try succeeded(end)
    try expect(messages.isEmpty, "\(messages.count) messages more")
  }

  private func halfDuplex() async throws {
    let call = open("HalfDuplexCall")
    for size in Self.answerSizes { call.send(Request(parameters: [ResponseParameters(size: size)]).encoded) }
    call.end()
    let (messages, end) = await call.rest()
    try succeeded(end)
    try expect(
      messages.map { Response.body($0)?.count } == Self.answerSizes, "sizes \(messages.map(\.count))")
  }

  private func emptyStream() async throws {
    let call = open("FullDuplexCall")
    call.end()
    let (messages, end) = await call.rest()
    try succeeded(end)
    try expect(messages.isEmpty, "\(messages.count) messages")
  }

  // MARK: Metadata and status

  private func customMetadata() async throws {
    // One, two and three bytes: base64 with two, one and no padding characters, where the peer pads.
    for binary: [UInt8] in [[0xab], [0xab, 0xab], [0xab, 0xab, 0xab], [], Array(0...255)] {
      var metadata: Metadata = ["x-grpc-test-echo-initial": "test_initial_metadata_value"]
      metadata.append("x-grpc-test-echo-trailing-bin", binary)
      let request = Request(
        responseSize: 10, payload: [0], parameters: [ResponseParameters(size: 10)])
      for method in ["UnaryCall", "FullDuplexCall"] {
        let (messages, end) = await unary(method, request.encoded, metadata)
        try succeeded(end)
        try expect(messages.count == 1, "\(method): \(messages.count) messages")
        try expect(
          end.initial?.text("x-grpc-test-echo-initial") == "test_initial_metadata_value",
          "\(method): initial metadata \(String(describing: end.initial))")
        try expect(
          end.trailers["x-grpc-test-echo-trailing-bin"] == binary,
          "\(method): trailing metadata \(end.trailers)")
      }
    }
  }

  private func statusCodeAndMessage(_ message: String) async throws {
    let status = EchoStatus(code: 2, message: message)
    for method in ["UnaryCall", "FullDuplexCall"] {
      let (messages, end) = await unary(method, Request(status: status).encoded)
      try expect(messages.isEmpty, "\(method): \(messages.count) messages")
      try expect(end.status.code == .unknown && end.status.message == message, "\(method): \(end.status)")
    }
  }

  private func unimplemented(_ path: String) async throws {
    let call = Conversation(connection, path, deadline: .now() + .seconds(20))
    call.send([])
    call.end()
    let (_, end) = await call.rest()
    try expect(end.status.code == .unimplemented, "status \(end.status)")
  }

  // MARK: The end, from this side

  private func cancelAfterBegin() async throws {
    let call = open("StreamingInputCall")
    call.cancel()
    let (_, end) = await call.rest()
    try expect(end.status.code == .cancelled, "status \(end.status)")
  }

  private func cancelAfterFirstResponse() async throws {
    let call = open("FullDuplexCall")
    call.send(
      Request(payload: [UInt8](repeating: 0, count: 27_182), parameters: [ResponseParameters(size: 31_415)])
        .encoded)
    let first = await call.message()
    try expect(first.flatMap { Response.body($0)?.count } == 31_415, "an answer of \(first?.count ?? -1)")
    call.cancel()
    let (_, end) = await call.rest()
    try expect(end.status.code == .cancelled, "status \(end.status)")
  }

  private func timeoutOnSleepingServer() async throws {
    for within: TimeAmount in [.milliseconds(1), .milliseconds(100)] {
      let call = open("FullDuplexCall", within: within)
      call.send(
        Request(
          payload: [UInt8](repeating: 0, count: 27_182),
          parameters: [ResponseParameters(size: 31_415, microseconds: 10_000_000)]
        ).encoded)
      let (messages, end) = await call.rest()
      try expect(end.status.code == .deadlineExceeded && messages.isEmpty, "status \(end.status)")
    }
  }

  // MARK: Compression

  /// A stock server does not tell its handlers how a message came: that the bytes on the wire are gzip is
  /// for the tests with the raw server to see.
  private func clientCompressedUnary() async throws {
    for plain in [false, true] {
      let call = open("UnaryCall", compresses: true)
      call.send(
        Request(responseSize: 314_159, payload: [UInt8](repeating: 0, count: 271_828)).encoded, plain: plain)
      call.end()
      let (messages, end) = await call.rest()
      try succeeded(end)
      try expect(messages.first.flatMap { Response.body($0)?.count } == 314_159, "the answer differs")
    }
  }

  private func clientCompressedStreaming() async throws {
    let call = open("StreamingInputCall", compresses: true)
    for (size, plain) in [(27_182, false), (45_904, true)] {
      var request: [UInt8] = []
      Protobuf.append(1, bytes: Request.payload([UInt8](repeating: 0, count: size)), to: &request)
      call.send(request, plain: plain)
    }
    call.end()
    let (messages, end) = await call.rest()
    try succeeded(end)
    try expect(messages.count == 1 && Response.aggregate(messages[0]) == 73_086, "messages \(messages)")
  }

  private func serverCompressedUnary() async throws {
    for compressed in [true, false] {
      let request = Request(responseSize: 314_159, responseCompressed: compressed)
      let (messages, end) = await unary("UnaryCall", request.encoded)
      try succeeded(end)
      try expect(messages.first.flatMap { Response.body($0)?.count } == 314_159, "the answer differs")
      try expect(end.compressed == [compressed], "compressed: \(end.compressed)")
    }
  }

  private func serverCompressedStreaming() async throws {
    let request = Request(parameters: [
      ResponseParameters(size: 31_415, isCompressed: true),
      ResponseParameters(size: 92_653, isCompressed: false),
    ])
    let (messages, end) = await unary("StreamingOutputCall", request.encoded)
    try succeeded(end)
    try expect(
      messages.map { Response.body($0)?.count } == [31_415, 92_653], "sizes \(messages.map(\.count))")
    try expect(end.compressed == [true, false], "compressed: \(end.compressed)")
  }

  // MARK: Limits

  /// The server answers with one byte more than this client takes, and the connection goes on.
  private func maxMessageSize() async throws {
    let limit = Peer.clientMessageLimit
    let envelope = Response.payload(size: limit).count - limit
    let (most, fine) = await unary("UnaryCall", Request(responseSize: limit - envelope).encoded)
    try succeeded(fine)
    try expect(most.first?.count == limit, "a message of \(most.first?.count ?? -1)")
    let (none, end) = await unary("UnaryCall", Request(responseSize: limit - envelope + 1).encoded)
    try expect(end.status.code == .resourceExhausted && none.isEmpty, "status \(end.status)")
    try expect(end.status.message.contains("\(limit)"), "the limit is not in \(end.status.message)")
    try await emptyUnary()
  }
}
