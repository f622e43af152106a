/// Reads a table of the other side: never more than it has, never more than we know.
///
/// Field 0 of every table is its size. `raw.pointee` would copy our whole struct and run past the end of an older,
/// shorter one (measured: a fault at a page's end). What is not there is zero: an absent function is nil.
/// - Parameter zero: all of it zero.
package func adopt<T>(_ raw: UnsafeRawPointer, zero: T) -> T {
  let size = Int(raw.loadUnaligned(as: UInt32.self))
  var value = zero
  withUnsafeMutableBytes(of: &value) { destination in
    destination.copyMemory(
      from: UnsafeRawBufferPointer(start: raw, count: min(size, destination.count)))
  }
  return value
}
