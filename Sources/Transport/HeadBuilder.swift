import SkeinCore

/// One header block in the making: what gRPC itself needs, and the custom metadata.
///
/// Pure. Header blocks of a connection never interleave, so each connection has one, used in turn; a class, so
/// that looking at it copies nothing. Confined to the connection's loop.
final class HeadBuilder {
  enum Timeout: Equatable {
    case none, malformed
    case nanoseconds(Int64)
  }

  /// `grpc-encoding`.
  enum Encoding: Equatable {
    case identity, gzip
    case unknown(String)
  }

  private(set) var size = 0
  private(set) var isPost = false
  /// The method of a request.
  private(set) var method = ""
  private(set) var path = ""
  private(set) var contentTypeIsGRPC = false
  /// Set when it is not gRPC's.
  private(set) var contentType: String?
  /// Ten digits and more count as `Int.max`.
  private(set) var contentLength: Int?
  private(set) var timeout = Timeout.none
  private(set) var encoding = Encoding.identity
  /// The peer lists gzip in `grpc-accept-encoding`.
  private(set) var acceptsGzip = false
  /// The first `-bin` entry whose value is not base64.
  private(set) var malformedMetadata: String?
  /// `:status` of a response.
  private(set) var httpStatus: Int?
  private(set) var grpcStatus: GRPCStatus?
  private var message = ""
  private var details: [UInt8] = []
  private(set) var metadata = Metadata()

  /// The path of the block before, so that a client that repeats a method costs no new string.
  private var lastPath: [UInt8] = []
  private var lastPathText = ""

  /// Messages of this side may come compressed.
  var isGzip: Bool { if case .gzip = encoding { true } else { false } }

  /// Starts the next block.
  func reset() {
    size = 0
    isPost = false
    method = ""
    path = ""
    contentTypeIsGRPC = false
    contentType = nil
    contentLength = nil
    timeout = .none
    encoding = .identity
    acceptsGzip = false
    malformedMetadata = nil
    httpStatus = nil
    grpcStatus = nil
    message = ""
    details = []
    if !metadata.isEmpty { metadata = Metadata() }
  }

  /// Takes one field. Returns false when the list has grown over `limit` (HTTP/2's measure).
  func add(
    _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>, limit: Int
  ) -> Bool {
    size += name.count + value.count + 32
    guard size <= limit else { return false }
    switch name.first {
    case UInt8(ascii: ":"): pseudo(name, value)
    case UInt8(ascii: "g") where name.starts(with: "grpc-".utf8): grpc(name, value)
    case UInt8(ascii: "c") where name.elementsEqual("content-type".utf8):
      contentTypeIsGRPC = Self.isGRPC(value)
      if !contentTypeIsGRPC { contentType = String(decoding: value, as: UTF8.self) }
    case UInt8(ascii: "c") where name.elementsEqual("content-length".utf8):
      contentLength = Self.decimal(value) ?? .max
    default: custom(name, value)
    }
    return true
  }

  /// `grpc-status` with its message and details; nil when the block had none.
  var status: GRPCStatus? {
    guard let grpcStatus else { return nil }
    return GRPCStatus(grpcStatus.code, message, details: details)
  }

  private func pseudo(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
    if name.elementsEqual(":path".utf8) {
      if !lastPath.elementsEqual(value) || lastPath.isEmpty {
        lastPath = Array(value)
        lastPathText = String(decoding: value, as: UTF8.self)
      }
      path = lastPathText
    } else if name.elementsEqual(":method".utf8) {
      isPost = value.elementsEqual("POST".utf8)
      method = isPost ? "POST" : String(decoding: value, as: UTF8.self)
    } else if name.elementsEqual(":status".utf8) {
      httpStatus = Self.decimal(value)
    }
  }

  private func grpc(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
    if name.elementsEqual("grpc-timeout".utf8) {
      timeout = GRPCTimeout.decode(value).map { .nanoseconds($0) } ?? .malformed
    } else if name.elementsEqual("grpc-encoding".utf8) {
      encoding = Self.encoding(value)
    } else if name.elementsEqual("grpc-accept-encoding".utf8) {
      acceptsGzip = acceptsGzip || Self.list(value, contains: "gzip")
    } else if name.elementsEqual("grpc-status".utf8) {
      let code = Self.decimal(value).flatMap { Int32(exactly: $0) }.flatMap { StatusCode(rawValue: $0) }
      grpcStatus = GRPCStatus(code ?? .unknown)
    } else if name.elementsEqual("grpc-message".utf8) {
      message = PercentEncoding.decode(value)
    } else if name.elementsEqual("grpc-status-details-bin".utf8) {
      details = Base64.decode(value) ?? []
    }
  }

  private func custom(_ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) {
    guard Metadata.isCustom(name) else { return }
    let text = String(decoding: name, as: UTF8.self)
    if text.hasSuffix("-bin") {
      // Several values may be joined by commas (gRPC over HTTP/2, "Custom-Metadata").
      for part in value.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
        if let bytes = Base64.decode(Self.trimmed(part)) {
          metadata.append(text, bytes)
        } else if malformedMetadata == nil {
          malformedMetadata = text
        }
      }
    } else {
      metadata.append(text, Array(value))
    }
  }

  private static func encoding(_ value: UnsafeBufferPointer<UInt8>) -> Encoding {
    if value.elementsEqual("identity".utf8) { return .identity }
    if value.elementsEqual("gzip".utf8) { return .gzip }
    return .unknown(String(decoding: value.prefix(64), as: UTF8.self).displayable)
  }

  private static func list(_ value: UnsafeBufferPointer<UInt8>, contains word: String) -> Bool {
    // Without an array: this stands in every request.
    var rest = value[...]
    while true {
      let end = rest.firstIndex(of: UInt8(ascii: ",")) ?? rest.endIndex
      if trimmed(rest[..<end]).elementsEqual(word.utf8) { return true }
      guard end < rest.endIndex else { return false }
      rest = rest[(end + 1)...]
    }
  }

  /// Without the blanks that may stand around a comma.
  private static func trimmed(_ part: Slice<UnsafeBufferPointer<UInt8>>) -> Slice<UnsafeBufferPointer<UInt8>>
  {
    func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
    var rest = part
    while let first = rest.first, isBlank(first) { rest = rest.dropFirst() }
    while let last = rest.last, isBlank(last) { rest = rest.dropLast() }
    return rest
  }

  /// Media types are the same in either case (RFC 9110, 8.3.1).
  private static func isGRPC(_ value: UnsafeBufferPointer<UInt8>) -> Bool {
    guard
      value.starts(
        with: "application/grpc".utf8,
        by: { $0 == $1 || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) && $0 | 0x20 == $1 })
    else { return false }
    guard value.count > 16 else { return true }
    return value[16] == UInt8(ascii: "+") || value[16] == UInt8(ascii: ";")
  }

  /// A number of 1 to 9 digits.
  private static func decimal(_ value: UnsafeBufferPointer<UInt8>) -> Int? {
    guard (1...9).contains(value.count) else { return nil }
    var result = 0
    for byte in value {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
      result = result * 10 + Int(byte - UInt8(ascii: "0"))
    }
    return result
  }
}
