/// Walks a run of whole batches laid end to end, as `Fetch.batches` and segments hold them.
///
/// ```swift
/// var splitter = BatchSplitter(bytes)
/// while let batch = try splitter.next() { … bytes[batch.range] … }
/// ```
/// Checks lengths only: run `BatchCheck.stored` or a `BatchReader` on each.
public struct BatchSplitter {
  public struct Batch {
    /// Where it lies in the run.
    public let range: Range<Int>
    public let header: BatchHeader
  }

  private let bytes: UnsafeRawBufferPointer
  /// Bytes of the batches returned so far: where the next one begins.
  public private(set) var consumed = 0

  public init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// The next batch, or nil at the end of the run.
  /// - Throws: `truncated` when the run ends inside a batch; `consumed` then says where that begins.
  public mutating func next() throws(BatchError) -> Batch? {
    guard consumed < bytes.count else { return nil }
    let rest = UnsafeRawBufferPointer(rebasing: bytes[consumed...])
    let header = try BatchHeader(parsing: rest)
    guard header.totalSize <= rest.count else {
      throw .truncated(needed: header.totalSize, available: rest.count)
    }
    let range = consumed..<consumed + header.totalSize
    consumed = range.upperBound
    return Batch(range: range, header: header)
  }
}
