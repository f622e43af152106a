package import SkeinCore

/// Payload bytes that may lie in several places: the broker sends the batches of its tail cache or
/// of a file read as they are, one part each; a decoded message has one part.
package struct Payload: Sendable, Equatable, ExpressibleByArrayLiteral {
  package private(set) var parts: [SharedBytes]
  /// All parts together, in bytes.
  package private(set) var count: Int

  package static let empty = Payload([])

  package init(_ parts: [SharedBytes]) {
    self.parts = parts.filter { !$0.isEmpty }
    self.count = parts.reduce(0) { $0 + $1.count }
  }

  package init(_ bytes: SharedBytes) { self.init([bytes]) }

  package init(arrayLiteral elements: SharedBytes...) { self.init(elements) }

  package var isEmpty: Bool { count == 0 }

  /// The bytes in one run. No copy for a decoded message; otherwise the parts are joined.
  package var joined: SharedBytes {
    if parts.count == 1 { return parts[0] }
    guard !parts.isEmpty else { return .empty }
    let storage = SharedBytes.Storage(capacity: count)
    var at = 0
    for part in parts {
      part.withUnsafeBytes { bytes in
        if let base = bytes.baseAddress { (storage.base + at).copyMemory(from: base, byteCount: bytes.count) }
      }
      at += part.count
    }
    return SharedBytes(storage, offset: 0, count: count)
  }

  /// Equal bytes, however they are cut.
  package static func == (a: Payload, b: Payload) -> Bool {
    a.count == b.count && a.joined == b.joined
  }
}
