import CSkeinPlugin

/// A partitioner under test: places records without a host, through the same columns that a host makes.
///
/// ```swift
/// let sticky = try PartitionerHarness(Sticky.self, config: #"{"seed": 7}"#)
/// #expect(sticky.place([.init(key: "a"), .init(key: nil)], partitions: 12) == [3, .anyPartition])
/// ```
public struct PartitionerHarness<P: Partitioner>: Sendable {
  /// A record to place.
  public struct Item: Sendable {
    public var key: [UInt8]?
    /// In the order of the manifest's `headers`.
    public var headers: [[UInt8]?]
    public var timestamp: Int64?

    public init(key: String?, headers: [String?] = [], timestamp: Int64? = nil) {
      self.key = key.map { Array($0.utf8) }
      self.headers = headers.map { $0.map { Array($0.utf8) } }
      self.timestamp = timestamp
    }

    public init(keyBytes: [UInt8]?) {
      key = keyBytes
      headers = []
      timestamp = nil
    }
  }

  public let partitioner: P

  public init(_ type: P.Type, config: String = "{}") throws {
    partitioner = try P(PluginContext(testing: config))
  }

  /// - Parameter weights: one a partition, or none.
  /// - Precondition: all items have as many headers; all or none have a timestamp.
  public func place(
    _ items: [Item], partitions: Int32, weights: [UInt32]? = nil, topicID: UInt8 = 1
  ) -> [Int32] {
    precondition(weights.map { $0.count == Int(partitions) } ?? true, "one weight a partition")
    let names = items.first?.headers.count ?? 0
    var storage: [UInt8] = []
    var lengths: [Int?] = []
    for item in items {
      for value in [item.key] + item.headers {
        lengths.append(value?.count)
        storage += value ?? []
      }
    }
    storage.append(0)  // so that an empty value at the end has an address
    let timestamps = items.compactMap(\.timestamp)
    var answers = [Int32](repeating: .min, count: items.count)
    storage.withUnsafeBufferPointer { bytes in
      var at = 0
      var keys: [skein_bytes] = []
      var headers: [skein_bytes] = []
      for (index, length) in lengths.enumerated() {
        let start = bytes.baseAddress.map { $0 + at }
        let value = skein_bytes(ptr: length.flatMap { _ in start }, len: length ?? 0)
        if index % (names + 1) == 0 { keys.append(value) } else { headers.append(value) }
        at += length ?? 0
      }
      keys.withUnsafeBufferPointer { keys in
        headers.withUnsafeBufferPointer { headers in
          timestamps.withUnsafeBufferPointer { timestamps in
            (weights ?? []).withUnsafeBufferPointer { weightBuffer in
              var topic = skein_topic()
              topic.size = UInt32(MemoryLayout<skein_topic>.size)
              topic.partitions = partitions
              topic.weights = weights == nil ? nil : weightBuffer.baseAddress
              topic.id.0 = topicID
              var records = skein_records()
              records.size = UInt32(MemoryLayout<skein_records>.size)
              records.count = UInt32(items.count)
              records.keys = keys.baseAddress
              records.timestamps = timestamps.count == items.count ? timestamps.baseAddress : nil
              records.header_names = UInt32(names)
              records.headers = names == 0 ? nil : headers.baseAddress
              answers.withUnsafeMutableBufferPointer { answers in
                withUnsafePointer(to: records) { records in
                  withUnsafePointer(to: topic) { topic in
                    partitioner.partition(Records(records), of: TopicView(topic), into: answers)
                  }
                }
              }
            }
          }
        }
      }
    }
    return answers
  }
}
