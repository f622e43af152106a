/// Call metadata: name and value pairs in the order in which they travelled.
///
/// Names are lower case. The value of a name that ends in `-bin` is the decoded bytes; any other
/// value is printable ASCII. A plain value; any thread. An empty one allocates nothing.
package struct Metadata: Sendable, Hashable, ExpressibleByDictionaryLiteral {
  package struct Entry: Sendable, Hashable {
    package var name: String
    package var value: [UInt8]

    /// The value as text; nil when it is not UTF-8.
    package var text: String? { String(validating: value, as: UTF8.self) }
  }

  package private(set) var entries: [Entry] = []

  package init() {}

  package init(dictionaryLiteral elements: (String, String)...) {
    for (name, value) in elements { append(name, value) }
  }

  package var isEmpty: Bool { entries.isEmpty }

  /// Adds a text value. Its bytes must be printable ASCII; others are dropped when it is sent.
  package mutating func append(_ name: String, _ value: String) {
    append(name, Array(value.utf8))
  }

  /// Adds a value; bytes of any kind need a name that ends in `-bin`.
  package mutating func append(_ name: String, _ value: [UInt8]) {
    entries.append(Entry(name: name.lowercased(), value: value))
  }

  /// The first value of that name (given in lower case).
  package subscript(_ name: String) -> [UInt8]? {
    entries.first { $0.name == name }?.value
  }

  /// Removes all values of that name (given in lower case) and returns them.
  package mutating func take(_ name: String) -> [[UInt8]] {
    let found = entries.filter { $0.name == name }.map(\.value)
    if !found.isEmpty { entries.removeAll { $0.name == name } }
    return found
  }

  /// The first value of that name as text.
  package func text(_ name: String) -> String? {
    entries.first { $0.name == name }?.text
  }

  /// Whether a name may travel as custom metadata: lower-case letters, digits, `_ - .`, and not one
  /// of gRPC's or HTTP's own.
  static func isCustom(_ name: some Collection<UInt8>) -> Bool {
    guard let first = name.first, first != UInt8(ascii: ":") else { return false }
    if name.starts(with: "grpc-".utf8) { return false }
    if reserved.contains(where: { name.elementsEqual($0.utf8) }) { return false }
    return name.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
        true
      default: false
      }
    }
  }

  private static let reserved = [
    "te", "content-type", "content-length", "connection", "host", "transfer-encoding", "upgrade",
    "keep-alive", "proxy-connection",
  ]
}
