import CSkeinPlugin

/// A table that the other side made, as long as we know it: what its maker does not have is zero, so that a missing
/// function is nil. Never read a table by `pointee`: that copies our size, and an older table may end before it.
func adopt<Table: BitwiseCopyable>(_ raw: UnsafeRawPointer, zero: Table) -> Table {
  // Field 0 of every table is its size.
  let size = Int(raw.loadUnaligned(as: UInt32.self))
  var table = zero
  withUnsafeMutableBytes(of: &table) { to in
    to.copyMemory(from: UnsafeRawBufferPointer(start: raw, count: min(size, MemoryLayout<Table>.size)))
  }
  return table
}

extension skein_bytes {
  /// The text, with what is not UTF-8 replaced.
  var text: String { String(decoding: buffer, as: UTF8.self) }

  /// A copy.
  var copy: [UInt8] { Array(buffer) }

  /// Borrowed.
  var buffer: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: ptr, count: ptr == nil ? 0 : len) }
}

/// Lends bytes to a C function for the time of one call.
func lend<Result>(_ bytes: [UInt8], _ body: (skein_bytes) -> Result) -> Result {
  bytes.withUnsafeBufferPointer { body(skein_bytes(ptr: $0.baseAddress, len: $0.count)) }
}

/// Lends text to a C function for the time of one call.
func lend<Result>(_ text: String, _ body: (skein_bytes) -> Result) -> Result {
  var text = text
  return text.withUTF8 { body(skein_bytes(ptr: $0.baseAddress, len: $0.count)) }
}
