/// What one partition must look like, kept by the simulation alone. It shares no code with CommitLog:
/// plain offsets and texts.
struct ShadowPartition {
  /// What the promise of the partition's topic is.
  let isDurable: Bool
  /// Retention may move the log start by itself.
  let hasRetention: Bool

  /// Every record that a producer has ever handed over, and whether it was met in the log.
  private var produced: Set<String> = []
  /// Acknowledged records by offset: there for ever, until deleted.
  private(set) var acknowledged: [Int64: String] = [:]
  /// Records that a reader has seen, by offset.
  private var seen: [Int64: String] = [:]
  /// The log start that a caller was told, and the highest that anyone has asked for.
  private(set) var confirmedStart: Int64 = 0
  private var requestedStart: Int64 = 0
  /// The highest log start that readers have met.
  private var observedStart: Int64 = 0
  /// The medium was damaged: what is missing may be reported as damage, never passed over in silence.
  var isExcused = false

  init(isDurable: Bool, hasRetention: Bool) {
    self.isDurable = isDurable
    self.hasRetention = hasRetention
  }

  // MARK: What happened

  mutating func produce(_ values: [String]) { produced.formUnion(values) }

  mutating func acknowledge(_ values: [String], at base: Int64) throws {
    for (index, value) in values.enumerated() {
      let offset = base + Int64(index)
      try settle(value, at: offset, "acknowledged")
      acknowledged[offset] = value
    }
  }

  mutating func see(_ value: String, at offset: Int64) throws {
    try settle(value, at: offset, "read")
    seen[offset] = value
  }

  mutating func requestStart(_ offset: Int64) { requestedStart = max(requestedStart, offset) }
  mutating func confirmStart(_ offset: Int64) { confirmedStart = max(confirmedStart, offset) }

  /// A crash may take the unsynced end of a topic that is only in memory, and nothing else.
  mutating func forgetVolatile(from end: Int64) {
    guard !isDurable else { return }
    acknowledged = acknowledged.filter { $0.key < end }
    seen = seen.filter { $0.key < end }
  }

  /// An operator accepted the loss of what is missing; a move of the log start may be part of it.
  mutating func acceptLoss(keeping present: [Int64: String]) {
    acknowledged = acknowledged.filter { present[$0.key] != nil }
    seen = seen.filter { present[$0.key] != nil }
    forgetStarts()
  }

  /// The newest checkpoint was destroyed: deleted records may come back, nothing else.
  mutating func forgetStarts() {
    confirmedStart = 0
    observedStart = 0
  }

  private func settle(_ value: String, at offset: Int64, _ how: String) throws {
    guard produced.contains(value) else {
      throw ShadowError("offset \(offset): \(how) a record that nobody produced")
    }
    if let known = acknowledged[offset] ?? seen[offset], known != value {
      throw ShadowError("offset \(offset) changed from \(known.prefix(24)) to \(value.prefix(24))")
    }
  }

  // MARK: What must hold

  /// Compares the whole readable log. `present` is everything from `start` on.
  mutating func compare(_ present: [Int64: String], start: Int64, end: Int64) throws {
    try checkStart(start, end: end)
    var places: [String: Int64] = [:]
    for offset in present.keys.sorted() {
      guard let value = present[offset] else { continue }
      try see(value, at: offset)
      if let other = places.updateValue(offset, forKey: value) {
        throw ShadowError("\(value.prefix(24)) is there twice, at \(other) and \(offset)")
      }
    }
    for offset in start..<max(start, end) where present[offset] == nil {
      if isExcused { continue }
      throw ShadowError("offset \(offset) is missing between \(start) and \(end)")
    }
    for (offset, value) in acknowledged.sorted(by: { $0.key < $1.key })
    where offset >= start && present[offset] != value {
      throw ShadowError(
        "acknowledged \(value.prefix(24)) is missing at \(offset), the log is \(start) ..< \(end)")
    }
    for (offset, value) in seen.sorted(by: { $0.key < $1.key })
    where offset >= start && present[offset] != value {
      throw ShadowError(
        "\(value.prefix(24)), read before, is missing at \(offset), the log is \(start) ..< \(end)")
    }
  }

  mutating func checkStart(_ start: Int64, end: Int64) throws {
    guard start >= confirmedStart, start >= observedStart else {
      throw ShadowError("the log start fell to \(start) from \(max(confirmedStart, observedStart))")
    }
    guard start <= end else { throw ShadowError("log start \(start) above end \(end)") }
    if !hasRetention && start > requestedStart && !isExcused {
      throw ShadowError("the log start rose to \(start), nobody asked for more than \(requestedStart)")
    }
    observedStart = start
  }
}

struct ShadowError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
