import RecordFormat

/// One record on its way into a batch; pointers are valid for the call that takes it.
///
/// `@unchecked Sendable`: it never leaves the one synchronous call, and thread, of its creator; saying so
/// lets it pass under the producer's lock.
struct RecordInput: @unchecked Sendable {
  var key: UnsafeRawBufferPointer?
  var value: UnsafeRawBufferPointer?
  var headers: HeaderSequence
  /// Encoded size of `headers`.
  var headerBytes: Int
  /// Milliseconds since 1970.
  var timestamp: Int64
  /// nil: the topic's partitioner decides.
  var partition: Int32?
  var tag: UInt64
  /// Compresses the batch it goes into; nil: the topic's choice.
  var codec: Codec?
  /// Where the broker's partitioner puts it, a partition of the topic; -1: anywhere, or it was not asked.
  var assigned: Int32 = -1

  /// Key, value and encoded headers, in bytes.
  var sizeInBytes: Int { (key?.count ?? 0) + (value?.count ?? 0) + headerBytes }
}
