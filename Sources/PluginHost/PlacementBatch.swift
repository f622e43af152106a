import PluginABI
package import SkeinCore

/// Records to place, column by column, as `AssignRequest` carries them and as a child gets them.
package struct PlacementBatch: Sendable {
  package var topic: TopicID
  /// 1 to 10,000.
  package var partitions: Int32
  /// One per partition; empty: all equal.
  package var weights: [UInt32]
  /// One per record: the key's length plus 1; 0 = no key. Their sum fits `keys` (checked by who makes the batch).
  package var keyLengths: [UInt32]
  /// The keys, one after another.
  package var keys: SharedBytes
  /// How many values each record has in `headerLengths`: as many as the manifest names headers.
  package var headerNames: Int
  /// `count * headerNames`: the value's length plus 1; 0 = no such header.
  package var headerLengths: [UInt32]
  package var headerValues: SharedBytes
  /// `count`, or empty unless the manifest asks for them.
  package var timestamps: [Int64]

  package var count: Int { keyLengths.count }

  package init(
    topic: TopicID, partitions: Int32, weights: [UInt32] = [], keyLengths: [UInt32], keys: SharedBytes,
    headerNames: Int = 0, headerLengths: [UInt32] = [], headerValues: SharedBytes = .empty,
    timestamps: [Int64] = []
  ) {
    self.topic = topic
    self.partitions = partitions
    self.weights = weights
    self.keyLengths = keyLengths
    self.keys = keys
    self.headerNames = headerNames
    self.headerLengths = headerLengths
    self.headerValues = headerValues
    self.timestamps = timestamps
  }
}

extension PlacementBatch {
  /// The columns as a plug-in's caller needs them, valid inside `body` only.
  func withColumns<R>(_ body: (borrowing PlacementColumns) -> R) -> R {
    keys.withUnsafeBytes { keys in
      headerValues.withUnsafeBytes { headerValues in
        keyLengths.withUnsafeBytes { keyLengths in
          headerLengths.withUnsafeBytes { headerLengths in
            timestamps.withUnsafeBytes { timestamps in
              weights.withUnsafeBytes { weights in
                var columns = PlacementColumns()
                columns.topicHigh = topic.high
                columns.topicLow = topic.low
                columns.partitions = Int(partitions)
                columns.count = count
                columns.headerNames = headerNames
                columns.weights = weights
                columns.timestamps = timestamps
                columns.keyLengths = keyLengths
                columns.keys = keys
                columns.headerLengths = headerLengths
                columns.headerValues = headerValues
                return body(columns)
              }
            }
          }
        }
      }
    }
  }

  /// Told when the columns are not what they must be.
  var refusal: Fault {
    Fault(
      .invalidRequest,
      "a batch of \(count) records with \(headerNames) headers for \(partitions) partitions cannot be placed: 1 to \(PlacementColumns.recordLimit) records, at most \(PlacementColumns.headerLimit) headers, 1 to \(PlacementColumns.partitionLimit) partitions, 64 MiB"
    )
  }
}
