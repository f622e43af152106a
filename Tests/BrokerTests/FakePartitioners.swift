import NIOCore
import PluginHost
import PluginPackage
import SkeinCore
import Synchronization

@testable import Broker

/// Plug-ins without a process: what each of them answers is said by its id.
final class FakePartitioners: PartitionerSource {
  enum Behaviour: Sendable {
    /// murmur2, moved on by so many partitions: another place for every key.
    case shifted(Int32)
    /// The digit that the value of header "to" is; -1 without it.
    case header
    /// The last byte of the timestamp.
    case timestamp
    case outOfRange
    case fails(Fault)
    /// As `shifted(1)`, but only when `release` is called, the newest question first.
    case held
  }

  private struct State {
    var behaviours: [String: Behaviour]
    var refusals: [String: Fault] = [:]
    var live = 0
    var loads: [String] = []
    var held: [@Sendable () -> Void] = []
  }
  private let state: Mutex<State>

  init(_ behaviours: [String: Behaviour]) { state = Mutex(State(behaviours: behaviours)) }

  /// Instances that somebody holds.
  var live: Int { state.withLock { $0.live } }
  var loads: [String] { state.withLock { $0.loads } }
  var held: Int { state.withLock { $0.held.count } }

  func set(_ id: String, _ behaviour: Behaviour) { state.withLock { $0.behaviours[id] = behaviour } }
  /// Loading it throws this; nil: it loads again.
  func refuse(_ id: String, _ fault: Fault?) { state.withLock { $0.refusals[id] = fault } }

  /// Answers what `held` instances were asked.
  func release() {
    for answer in state.withLock({ state in
      defer { state.held = [] }
      return state.held.reversed()
    }) { answer() }
  }

  fileprivate func behaviour(_ id: String) -> Behaviour {
    state.withLock { $0.behaviours[id] ?? .shifted(0) }
  }
  fileprivate func hold(_ answer: @escaping @Sendable () -> Void) {
    state.withLock { $0.held.append(answer) }
  }
  fileprivate func count(_ change: Int) { state.withLock { $0.live += change } }

  func load(_ reference: String, config: String, usedBy: String) async throws(Fault) -> LoadedPartitioner {
    let parsed = try PluginReference(parsing: reference)
    let refusal = state.withLock { state in
      state.loads.append("\(reference) \(config) \(usedBy)")
      return state.refusals[reference]
    }
    if let refusal { throw refusal }
    var loaded = LoadedPartitioner(
      instance: FakePartitioner(parsed, self), sha256: "5ha", headers: [], needsTimestamps: false)
    switch behaviour(reference) {
    case .header: loaded.headers = ["to"]
    case .timestamp: loaded.needsTimestamps = true
    default: break
    }
    return loaded
  }
}

private final class FakePartitioner: PartitionerInstance {
  let reference: PluginReference
  private let source: FakePartitioners

  init(_ reference: PluginReference, _ source: FakePartitioners) {
    self.reference = reference
    self.source = source
    source.count(1)
  }

  deinit { source.count(-1) }

  var counts: InstanceCounts { InstanceCounts() }

  func place(
    _ batch: PlacementBatch, on loop: any EventLoop,
    _ answer: @escaping @Sendable (Result<[Int32], Fault>) -> Void
  ) {
    switch source.behaviour(reference.description) {
    case .fails(let fault): loop.execute { answer(.failure(fault)) }
    case .outOfRange:
      loop.execute { answer(.success(Array(repeating: batch.partitions, count: batch.count))) }
    case .shifted(let by):
      loop.execute { answer(.success(Self.shifted(batch, by))) }
    case .held: source.hold { loop.execute { answer(.success(Self.shifted(batch, 1))) } }
    case .header:
      let values = batch.headerValues.array
      var next = 0
      let placed = batch.headerLengths.map { length -> Int32 in
        guard length > 1 else { return -1 }
        defer { next += Int(length) - 1 }
        return Int32(values[next]) - 48
      }
      loop.execute { answer(.success(placed)) }
    case .timestamp:
      loop.execute { answer(.success(batch.timestamps.map { Int32($0 % Int64(batch.partitions)) })) }
    }
  }

  static func shifted(_ batch: PlacementBatch, _ by: Int32) -> [Int32] {
    PlacementColumns(keyLengths: batch.keyLengths, keys: batch.keys)
      .placed(by: .murmur2, partitions: batch.partitions)
      .map { $0 < 0 ? -1 : ($0 + by) % batch.partitions }
  }
}
