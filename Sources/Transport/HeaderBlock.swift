import CNGHTTP2
import SkeinCore

/// Header fields on their way to nghttp2, which copies what is not static.
///
/// Names and values that are string literals travel as pointers; the others lie one behind another
/// in one buffer, so that a block costs two allocations at most.
struct HeaderBlock {
  private enum Text {
    case fixed(StaticString)
    case bytes(offset: Int, count: Int)
  }

  private var fields: [(name: Text, value: Text)] = []
  private var buffer: [UInt8] = []

  /// The headers of every response, and of every one that went well.
  static let ok: HeaderBlock = {
    var block = HeaderBlock()
    block.add(":status", "200")
    block.add("content-type", "application/grpc")
    return block
  }()

  /// The same with the encodings that we take: of a connection's first response, and of refusals.
  static let announcing: HeaderBlock = {
    var block = ok
    block.add("grpc-accept-encoding", "identity,gzip")
    return block
  }()

  static let okTrailers: HeaderBlock = {
    var block = HeaderBlock()
    block.add("grpc-status", "0")
    return block
  }()

  mutating func add(_ name: StaticString, _ value: StaticString) {
    fields.append((.fixed(name), .fixed(value)))
  }

  mutating func add(_ name: StaticString, _ value: some Collection<UInt8>) {
    fields.append((.fixed(name), store(value)))
  }

  /// A field of an HTTP response; left out when its value is not printable ASCII.
  mutating func add(name: String, value: String) {
    guard value.utf8.allSatisfy({ (0x20...0x7e).contains($0) }) else { return }
    fields.append((store(name.utf8), store(value.utf8)))
  }

  /// Custom metadata; entries whose name or value may not travel are left out.
  mutating func add(_ metadata: Metadata) {
    for entry in metadata.entries where Metadata.isCustom(entry.name.utf8) {
      if entry.name.hasSuffix("-bin") {
        fields.append((store(entry.name.utf8), store(Base64.encode(entry.value))))
      } else if entry.value.allSatisfy({ (0x20...0x7e).contains($0) }) {
        fields.append((store(entry.name.utf8), store(entry.value)))
      }
    }
  }

  /// `grpc-status` and what belongs to it.
  mutating func add(_ status: GRPCStatus) {
    add("grpc-status", String(status.code.rawValue).utf8)
    if !status.message.isEmpty { add("grpc-message", PercentEncoding.encode(status.message)) }
    if !status.details.isEmpty { add("grpc-status-details-bin", Base64.encode(status.details)) }
  }

  private mutating func store(_ bytes: some Collection<UInt8>) -> Text {
    let offset = buffer.count
    buffer.append(contentsOf: bytes)
    return .bytes(offset: offset, count: buffer.count - offset)
  }

  /// The fields as nghttp2 wants them; the pointers are valid inside `body`, which must copy them
  /// (nghttp2 copies all but static ones).
  func withPairs<R>(_ body: (UnsafePointer<nghttp2_nv>?, Int) -> R) -> R {
    buffer.withUnsafeBufferPointer { bytes in
      withUnsafeTemporaryAllocation(of: nghttp2_nv.self, capacity: max(fields.count, 1)) { pairs in
        for (index, field) in fields.enumerated() {
          let (name, nameLength, nameFixed) = Self.resolve(field.name, bytes)
          let (value, valueLength, valueFixed) = Self.resolve(field.value, bytes)
          var flags: UInt8 = 0
          if nameFixed { flags |= UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue) }
          if valueFixed { flags |= UInt8(NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue) }
          pairs.initializeElement(
            at: index,
            to: nghttp2_nv(
              name: name, value: value, namelen: nameLength, valuelen: valueLength, flags: flags))
        }
        return body(UnsafePointer(pairs.baseAddress), fields.count)
      }
    }
  }

  private static func resolve(
    _ text: Text, _ bytes: UnsafeBufferPointer<UInt8>
  ) -> (UnsafeMutablePointer<UInt8>?, Int, Bool) {
    switch text {
    case .fixed(let string):
      return (UnsafeMutablePointer(mutating: string.utf8Start), string.utf8CodeUnitCount, true)
    case .bytes(let offset, let count):
      guard count > 0, let base = bytes.baseAddress else {
        let empty: StaticString = ""
        return (UnsafeMutablePointer(mutating: empty.utf8Start), 0, true)
      }
      return (UnsafeMutablePointer(mutating: base + offset), count, false)
    }
  }
}
