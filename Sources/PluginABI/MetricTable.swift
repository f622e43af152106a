internal import Synchronization

/// The series that a plug-in defines: at most 32 an instance, 512 in all.
///
/// `define` takes a lock ([control]); `record` is atomic additions on memory that never moves, from any thread.
package final class MetricTable: @unchecked Sendable {
  // Safe between threads: `entries` under the mutex; cells are atomic.
  package static let perInstance = 32
  package static let total = 512
  /// A histogram's upper bounds, in the metric's unit; one more bucket takes the rest.
  package static let bounds: [Double] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1e4, 1e6]

  package enum Kind: Int32, Sendable {
    case counter = 0
    case gauge = 1
    case histogram = 2
  }

  /// One series as it is now.
  package struct Sample: Sendable, Hashable {
    package var instance: UInt64
    package var kind: Kind
    /// Without `skein_plugin_`, which is put before it.
    package var name: String
    package var unit: String
    /// Counter and histogram: the sum. Gauge: the newest.
    package var value: Double
    /// Histogram: how many observations, and how many fell into each bucket (not cumulated).
    package var count: UInt64
    package var buckets: [UInt64]

    package init(
      instance: UInt64, kind: Kind, name: String, unit: String, value: Double, count: UInt64,
      buckets: [UInt64]
    ) {
      self.instance = instance
      self.kind = kind
      self.name = name
      self.unit = unit
      self.value = value
      self.count = count
      self.buckets = buckets
    }
  }

  private struct Entry {
    var instance: UInt64
    var kind: Kind
    var name: String
    var unit: String
  }

  /// Value, count, buckets.
  private static let cells = 2 + bounds.count + 1
  private let memory: UnsafeMutablePointer<Atomic<UInt64>>
  /// Of each series: kind + 1; 0 = free.
  private let kinds: UnsafeMutablePointer<Atomic<Int32>>
  private let entries = Mutex<[Int: Entry]>([:])

  package init() {
    memory = .allocate(capacity: Self.total * Self.cells)
    for i in 0..<Self.total * Self.cells { (memory + i).initialize(to: Atomic(0)) }
    kinds = .allocate(capacity: Self.total)
    for i in 0..<Self.total { (kinds + i).initialize(to: Atomic(0)) }
  }

  deinit {
    memory.deinitialize(count: Self.total * Self.cells)
    memory.deallocate()
    kinds.deinitialize(count: Self.total)
    kinds.deallocate()
  }

  /// - Returns: the metric's number, from 1 on; 0 if it is refused.
  package func define(instance: UInt64, kind: Int32, name: String, unit: String) -> UInt64 {
    guard let kind = Kind(rawValue: kind), Self.isName(name), ["", "seconds", "bytes"].contains(unit) else {
      return 0
    }
    return entries.withLock { entries in
      let own = entries.filter { $0.value.instance == instance }
      if let same = own.first(where: { $0.value.name == name }) {
        return same.value.kind == kind ? UInt64(same.key + 1) : 0
      }
      guard own.count < Self.perInstance, let index = (0..<Self.total).first(where: { entries[$0] == nil })
      else { return 0 }
      entries[index] = Entry(instance: instance, kind: kind, name: name, unit: unit)
      for cell in 0..<Self.cells { memory[index * Self.cells + cell].store(0, ordering: .relaxed) }
      kinds[index].store(kind.rawValue + 1, ordering: .releasing)
      return UInt64(index + 1)
    }
  }

  package func record(_ metric: UInt64, _ value: Double) {
    guard metric > 0, metric <= UInt64(Self.total), value.isFinite else { return }
    let index = Int(metric - 1)
    let base = index * Self.cells
    switch kinds[index].load(ordering: .acquiring) {
    case 1: if value >= 0 { add(value, at: base) }
    case 2: memory[base].store(value.bitPattern, ordering: .relaxed)
    case 3:
      add(value, at: base)
      memory[base + 1].wrappingAdd(1, ordering: .relaxed)
      let bucket = Self.bounds.firstIndex { value <= $0 } ?? Self.bounds.count
      memory[base + 2 + bucket].wrappingAdd(1, ordering: .relaxed)
    default: break
    }
  }

  /// Forgets the series of an instance that ended.
  package func forget(instance: UInt64) {
    entries.withLock { entries in
      for (index, entry) in entries where entry.instance == instance {
        kinds[index].store(0, ordering: .releasing)
        entries[index] = nil
      }
    }
  }

  package func samples() -> [Sample] {
    entries.withLock { entries in
      entries.sorted { $0.key < $1.key }.map { index, entry in
        let base = index * Self.cells
        return Sample(
          instance: entry.instance, kind: entry.kind, name: entry.name, unit: entry.unit,
          value: Double(bitPattern: memory[base].load(ordering: .relaxed)),
          count: memory[base + 1].load(ordering: .relaxed),
          buckets: entry.kind == .histogram
            ? (0...Self.bounds.count).map { memory[base + 2 + $0].load(ordering: .relaxed) } : [])
      }
    }
  }

  private func add(_ value: Double, at cell: Int) {
    var seen = memory[cell].load(ordering: .relaxed)
    while true {
      let sum = (Double(bitPattern: seen) + value).bitPattern
      let (done, now) = memory[cell].compareExchange(expected: seen, desired: sum, ordering: .relaxed)
      if done { return }
      seen = now
    }
  }

  package static func isName(_ name: String) -> Bool {
    (1...64).contains(name.utf8.count)
      && name.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5f }
  }
}
