import SkeinCore
import Transport

/// The messages of package `grpc.testing`, by their public names and numbers
/// (Tests/interop/conformance/conformance_testing.proto).
struct EchoStatus {
  var code: Int32 = 0
  var message = ""

  init(code: Int32, message: String) {
    self.code = code
    self.message = message
  }

  init?(decoding bytes: ArraySlice<UInt8>) {
    guard let fields = Protobuf.fields(bytes) else { return nil }
    for case (1, .varint(let value)) in fields { code = Int32(truncatingIfNeeded: value) }
    for case (2, .bytes(let text)) in fields { message = String(decoding: text, as: UTF8.self) }
  }

  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    Protobuf.append(1, varint: UInt64(UInt32(bitPattern: code)), to: &bytes)
    Protobuf.append(2, bytes: Array(message.utf8), to: &bytes)
    return bytes
  }

  var status: GRPCStatus { GRPCStatus(StatusCode(rawValue: code) ?? .unknown, message) }
}

/// One answer of a stream: its payload's size, the pause before it, and whether it goes out compressed.
struct ResponseParameters {
  var size = 0
  var microseconds = 0
  var isCompressed: Bool?

  init(size: Int, microseconds: Int = 0, isCompressed: Bool? = nil) {
    self.size = size
    self.microseconds = microseconds
    self.isCompressed = isCompressed
  }

  init?(decoding bytes: ArraySlice<UInt8>) {
    guard let fields = Protobuf.fields(bytes) else { return nil }
    for case (1, .varint(let value)) in fields { size = Request.bounded(value) }
    for case (2, .varint(let value)) in fields { microseconds = Request.bounded(value) }
    for case (3, .bytes(let value)) in fields { isCompressed = Request.bool(value) }
  }

  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    Protobuf.append(1, varint: UInt64(size), to: &bytes)
    Protobuf.append(2, varint: UInt64(microseconds), to: &bytes)
    if let isCompressed { Protobuf.append(3, bytes: isCompressed ? [8, 1] : [], to: &bytes) }
    return bytes
  }
}

/// `SimpleRequest` and `StreamingOutputCallRequest`, which differ in what they ask for.
struct Request {
  var responseSize = 0
  var payload: [UInt8] = []
  var parameters: [ResponseParameters] = []
  var status: EchoStatus?
  var responseCompressed: Bool?
  var expectCompressed: Bool?

  init(
    responseSize: Int = 0, payload: [UInt8] = [], parameters: [ResponseParameters] = [],
    status: EchoStatus? = nil,
    responseCompressed: Bool? = nil, expectCompressed: Bool? = nil
  ) {
    self.responseSize = responseSize
    self.payload = payload
    self.parameters = parameters
    self.status = status
    self.responseCompressed = responseCompressed
    self.expectCompressed = expectCompressed
  }

  /// nil when the bytes are not such a message.
  init?(decoding bytes: [UInt8]) {
    guard let fields = Protobuf.fields(bytes[...]) else { return nil }
    for (number, value) in fields {
      switch (number, value) {
      case (2, .varint(let size)): responseSize = Self.bounded(size)
      case (2, .bytes(let text)):
        guard let one = ResponseParameters(decoding: text) else { return nil }
        parameters.append(one)
      case (3, .bytes(let text)):
        guard let body = Self.body(text) else { return nil }
        payload = body
      case (6, .bytes(let text)): responseCompressed = Self.bool(text)
      case (7, .bytes(let text)): status = EchoStatus(decoding: text)
      case (8, .bytes(let text)): expectCompressed = Self.bool(text)
      default: break
      }
    }
  }

  var encoded: [UInt8] {
    var bytes: [UInt8] = []
    Protobuf.append(2, varint: UInt64(responseSize), to: &bytes)
    for one in parameters { Protobuf.append(2, bytes: one.encoded, to: &bytes) }
    if !payload.isEmpty { Protobuf.append(3, bytes: Self.payload(payload), to: &bytes) }
    if let responseCompressed { Protobuf.append(6, bytes: responseCompressed ? [8, 1] : [], to: &bytes) }
    if let status { Protobuf.append(7, bytes: status.encoded, to: &bytes) }
    if let expectCompressed { Protobuf.append(8, bytes: expectCompressed ? [8, 1] : [], to: &bytes) }
    return bytes
  }

  /// A `Payload` with this body.
  static func payload(_ body: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    Protobuf.append(2, bytes: body, to: &bytes)
    return bytes
  }

  /// The body of a `Payload`.
  static func body(_ payload: ArraySlice<UInt8>) -> [UInt8]? {
    guard let fields = Protobuf.fields(payload) else { return nil }
    for case (2, .bytes(let body)) in fields { return Array(body) }
    return []
  }

  static func bool(_ bytes: ArraySlice<UInt8>) -> Bool {
    guard let fields = Protobuf.fields(bytes) else { return false }
    for case (1, .varint(let value)) in fields { return value != 0 }
    return false
  }

  /// At most 64 MiB or a minute: what a test may ask of this peer.
  static func bounded(_ value: UInt64) -> Int { Int(min(value, 64 << 20)) }
}

/// `SimpleResponse`, `StreamingOutputCallResponse` and `StreamingInputCallResponse`.
enum Response {
  static func payload(size: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    Protobuf.append(1, bytes: Request.payload([UInt8](repeating: 0, count: size)), to: &bytes)
    return bytes
  }

  static func aggregate(_ size: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    Protobuf.append(1, varint: UInt64(size), to: &bytes)
    return bytes
  }

  /// The body of the payload.
  static func body(_ bytes: [UInt8]) -> [UInt8]? {
    guard let fields = Protobuf.fields(bytes[...]) else { return nil }
    for case (1, .bytes(let payload)) in fields { return Request.body(payload) }
    return []
  }

  static func aggregate(_ bytes: [UInt8]) -> UInt64? {
    guard let fields = Protobuf.fields(bytes[...]) else { return nil }
    for case (1, .varint(let value)) in fields { return value }
    return 0
  }

  /// The body of a `StreamingInputCallRequest`, and whether it is to have been compressed.
  static func input(_ bytes: [UInt8]) -> (body: [UInt8], expectCompressed: Bool?)? {
    guard let fields = Protobuf.fields(bytes[...]) else { return nil }
    var result: (body: [UInt8], expectCompressed: Bool?) = ([], nil)
    for (number, value) in fields {
      switch (number, value) {
      case (1, .bytes(let payload)):
        guard let body = Request.body(payload) else { return nil }
        result.body = body
      case (2, .bytes(let flag)): result.expectCompressed = Request.bool(flag)
      default: break
      }
    }
    return result
  }
}
