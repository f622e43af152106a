/// What `skein.host.config/1` answers for one instance: every member's value under its path ("pool.size"), as bytes that
/// do not move before the table ends. Secrets stand here with their file's contents, and nowhere else.
package final class ConfigTable: Sendable {
  /// What crosses to a child: path and value.
  package struct Member: Sendable, Hashable {
    package var path: String
    package var value: [UInt8]
    package init(path: String, value: [UInt8]) {
      self.path = path
      self.value = value
    }
  }

  /// Members of one configuration, and bytes of all values.
  package static let memberLimit = 1_000
  package static let byteLimit = 1 << 20

  private let values: [[UInt8]: SharedValue]

  package init(_ members: [Member]) {
    var values: [[UInt8]: SharedValue] = [:]
    for member in members { values[Array(member.path.utf8)] = SharedValue(member.value) }
    self.values = values
  }

  /// The value's bytes, valid as long as the table.
  package func value(of path: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    guard path.count <= 1_024 else { return nil }
    return values[Array(path)]?.bytes
  }
}

/// Bytes at a fixed place. Immutable after init: any thread.
private final class SharedValue: @unchecked Sendable {
  let bytes: UnsafeRawBufferPointer

  init(_ value: [UInt8]) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(value.count, 1), alignment: 1)
    memory.copyBytes(from: value)
    bytes = UnsafeRawBufferPointer(start: memory.baseAddress, count: value.count)
  }

  deinit { UnsafeMutableRawPointer(mutating: bytes.baseAddress)?.deallocate() }
}
