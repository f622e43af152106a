import Logging
import PluginABI
import PluginPackage
import SkeinCore
import Synchronization

/// What is known of one artifact since the broker started: faults, strikes, counts. Shared by its child, its instances
/// and who asks for its status. Any thread.
final class PluginRecord: Sendable {
  static let faultsKept = 20

  let reference: PluginReference
  let sha256: String
  private let time: any TimeSource
  private let logger: Logger
  private let onQuarantine: Handler
  private let state: Mutex<State>

  /// Told once, when strikes quarantine it, with the reason.
  struct Handler: Sendable {
    let call: @Sendable (PluginRecord, String) -> Void
  }

  struct State: Sendable {
    var status: PluginStatus
    var strikes: StrikeLedger
    var samples: [MetricTable.Sample] = []
    var usedBy: [UInt32: String] = [:]
    /// Faults by kind, since the broker started.
    var faultTotals: [PluginFaultRecord.Kind: UInt64] = [:]
    /// After a crash in the broker: children only, for good.
    var isChildOnly = false
  }

  init(
    _ reference: PluginReference, sha256: String, configuration: PluginHostConfiguration,
    time: any TimeSource,
    logger: Logger, onQuarantine: Handler
  ) {
    self.reference = reference
    self.sha256 = sha256
    self.time = time
    self.logger = logger
    self.onQuarantine = onQuarantine
    state = Mutex(
      State(
        status: PluginStatus(reference: reference, sha256: sha256, placement: .child),
        strikes: StrikeLedger(limit: configuration.strikes, windowSeconds: configuration.strikeWindowSeconds))
    )
  }

  func change<R: Sendable>(_ body: (inout State) -> R) -> R { state.withLock { body(&$0) } }

  var quarantined: String? { state.withLock { $0.status.quarantined } }

  var status: PluginStatus {
    let now = time.monotonicNanoseconds
    return state.withLock { state in
      var status = state.status
      status.strikes = UInt32(state.strikes.count(at: now))
      return status
    }
  }

  /// Notes a fault; a strike too many quarantines.
  func fault(_ kind: PluginFaultRecord.Kind, _ detail: String, usedBy: String = "") {
    let record = PluginFaultRecord(
      atMilliseconds: time.wallMilliseconds, kind: kind, detail: detail, usedBy: usedBy)
    let now = time.monotonicNanoseconds
    let isTooMany = state.withLock { state in
      state.status.faults.append(record)
      if state.status.faults.count > Self.faultsKept { state.status.faults.removeFirst() }
      state.faultTotals[kind, default: 0] &+= 1
      guard kind.isStrike, state.strikes.strike(at: now), state.status.quarantined == nil else {
        return false
      }
      return true
    }
    logger.warning(
      "plug-in fault",
      metadata: [
        "plugin": "\(reference)", "sha256": "\(sha256)", "fault": "\(kind.rawValue)", "detail": "\(detail)",
        "used_by": "\(usedBy)",
      ])
    if isTooMany { quarantine("3 strikes within 10 minutes, the last: \(kind.rawValue), \(detail)") }
  }

  func quarantine(_ why: String) {
    let isFirst = state.withLock { state in
      defer { state.status.quarantined = state.status.quarantined ?? why }
      return state.status.quarantined == nil
    }
    guard isFirst else { return }
    logger.error(
      "plug-in quarantined",
      metadata: [
        "plugin": "\(reference)", "sha256": "\(sha256)", "why": "\(why)",
        "cure": "install another version, or skein plugin release \(reference)",
      ])
    onQuarantine.call(self, why)
  }

  func release() {
    state.withLock { state in
      state.status.quarantined = nil
      state.strikes.clear()
    }
  }

  /// Adds an instance's call to the sums.
  func count(_ calls: InstanceCounts) {
    state.withLock { state in
      state.status.counts.calls &+= calls.calls
      state.status.counts.records &+= calls.records
      state.status.counts.faults &+= calls.faults
      state.status.counts.outOfRange &+= calls.outOfRange
      state.status.counts.nanoseconds &+= calls.nanoseconds
    }
  }
}
