import PluginHost
import SkeinCore
import Wire

/// Records to place, column by column: of an AssignRequest, of a Publish, or of a sample.
struct PlacementColumns: Sendable {
  /// The length plus 1; 0 = no key.
  var keyLengths: [UInt32] = []
  var keys = SharedBytes.empty
  /// Row by row, one per name of the generation's `headers`.
  var headerLengths: [UInt32] = []
  var headerValues = SharedBytes.empty
  /// One per record, or none.
  var timestamps: [Int64] = []

  var count: Int { keyLengths.count }

  /// Records in one call.
  static let maximum = 10_000
}

extension PlacementColumns {
  /// Checks an AssignRequest against what the partitioner in force asks for.
  /// - Throws: `INVALID_REQUEST`.
  init(_ request: AssignRequest, headers: Int, needsTimestamps: Bool) throws(Fault) {
    let count = request.keyLengths.count
    var violations: [Fault.FieldViolation] = []
    func require(_ holds: Bool, _ field: String, _ description: @autoclosure () -> String) {
      if !holds { violations.append(.init(field: field, description: description())) }
    }
    require(
      (1...Self.maximum).contains(count), "key_lengths", "\(count) records; 1 to \(Self.maximum)")
    let keyBytes = Self.sum(request.keyLengths)
    require(
      keyBytes == request.keys.count, "keys",
      "\(request.keys.count) bytes, where key_lengths say \(keyBytes)")
    require(
      request.headerLengths.count == count * headers, "header_lengths",
      "\(request.headerLengths.count) values; \(headers) for each record (TopicSummary.partitioner_headers)")
    let headerBytes = Self.sum(request.headerLengths)
    require(
      headerBytes == request.headerValues.count, "header_values",
      "\(request.headerValues.count) bytes, where header_lengths say \(headerBytes)")
    let times = request.timestampsMs.count
    require(
      times == count || (times == 0 && !needsTimestamps), "timestamps_ms",
      "\(times) values; one for each record\(needsTimestamps ? "" : ", or none")")
    guard violations.isEmpty else {
      throw Fault(
        .invalidRequest,
        "the records cannot be placed: "
          + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "),
        violations: violations)
    }
    keyLengths = request.keyLengths
    keys = request.keys
    headerLengths = request.headerLengths
    headerValues = request.headerValues
    timestamps = needsTimestamps ? request.timestampsMs : []
  }

  /// Bytes that the lengths stand for. Cannot overflow: 32-bit values, and fewer of them than a message holds.
  private static func sum(_ lengths: [UInt32]) -> Int {
    lengths.reduce(0) { $0 + (Int($1) - ($1 == 0 ? 0 : 1)) }
  }
}

extension PlacementColumns {
  /// Where a built-in sends each; -1 where it leaves it to the sender.
  func placed(by builtIn: BuiltInPartitioner, partitions: Int32) -> [Int32] {
    guard builtIn == .murmur2 else { return Array(repeating: -1, count: count) }
    return keys.withUnsafeBytes { bytes in
      var position = 0
      return keyLengths.map { length in
        guard length > 0 else { return -1 }
        let size = Int(length) - 1
        // Lengths were checked against the bytes by who made the columns.
        let key = UnsafeRawBufferPointer(rebasing: bytes[position..<position + size])
        position += size
        return Murmur2.partition(key, count: partitions)
      }
    }
  }
}

/// Gathers records into columns. Not shared.
struct PlacementColumnsBuilder {
  private let headers: [String]
  private let needsTimestamps: Bool
  private var keyLengths: [UInt32] = []
  private var keys: [UInt8] = []
  private var headerLengths: [UInt32] = []
  private var headerValues: [UInt8] = []
  private var timestamps: [Int64] = []

  init(_ generation: TopicGeneration) { self.init(headers: generation.headers, generation.needsTimestamps) }

  init(headers: [String], _ needsTimestamps: Bool) {
    self.headers = headers
    self.needsTimestamps = needsTimestamps
  }

  var count: Int { keyLengths.count }
  var bytes: Int { keys.count + headerValues.count }

  /// - Parameter header: calls back with the value of a header by name, nil when the record has none.
  mutating func append(
    key: UnsafeRawBufferPointer?, timestamp: Int64, header: (String) -> [UInt8]?
  ) {
    keyLengths.append(key.map { UInt32(clamping: $0.count) &+ 1 } ?? 0)
    if let key { keys.append(contentsOf: key) }
    for name in headers {
      let value = header(name)
      headerLengths.append(value.map { UInt32(clamping: $0.count) &+ 1 } ?? 0)
      if let value { headerValues.append(contentsOf: value) }
    }
    if needsTimestamps { timestamps.append(timestamp) }
  }

  /// What was gathered; the builder is empty after it.
  mutating func take() -> PlacementColumns {
    defer { self = PlacementColumnsBuilder(headers: headers, needsTimestamps) }
    return PlacementColumns(
      keyLengths: keyLengths, keys: SharedBytes(keys), headerLengths: headerLengths,
      headerValues: SharedBytes(headerValues), timestamps: timestamps)
  }
}
