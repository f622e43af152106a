package import PluginPackage

/// Something that a plug-in did wrong.
package struct PluginFaultRecord: Sendable, Hashable {
  package enum Kind: String, Sendable, CaseIterable {
    case crash
    case hang
    case deadline
    case outOfRange = "out-of-range"
    case malformed
    case memory
    case threads
    case descriptors
    case forbiddenCall = "forbidden-call"
    case lateCompletion = "late-completion"
    case doubleCompletion = "double-completion"
    case badStatus = "bad-status"

    /// Whether it counts towards quarantine. What is only late may be the machine's fault.
    package var isStrike: Bool {
      switch self {
      case .deadline, .lateCompletion: false
      default: true
      }
    }
  }

  /// Since 1970-01-01 UTC.
  package var atMilliseconds: Int64
  package var kind: Kind
  package var detail: String
  /// The topic or listener that it served; may be empty.
  package var usedBy: String

  package init(atMilliseconds: Int64, kind: Kind, detail: String, usedBy: String) {
    self.atMilliseconds = atMilliseconds
    self.kind = kind
    self.detail = detail
    self.usedBy = usedBy
  }
}

package enum PluginPlacement: String, Sendable {
  case broker
  case child
}

/// A plug-in that was used since the broker started, or is quarantined, as `skein plugin info` shows it.
package struct PluginStatus: Sendable {
  package var reference: PluginReference
  package var sha256: String
  package var placement: PluginPlacement
  /// The child's; 0 = none runs.
  package var processID: Int32 = 0
  package var restarts: UInt32 = 0
  /// In the last ten minutes.
  package var strikes: UInt32 = 0
  /// The newest 20, oldest first.
  package var faults: [PluginFaultRecord] = []
  package var counts = InstanceCounts()
  package var instances = 0
  /// Why it is quarantined; nil: it is not.
  package var quarantined: String?
  /// Bytes that the child holds; 0 = unknown.
  package var residentBytes: Int64 = 0
  package var lateCompletions: UInt64 = 0
  package var doubleCompletions: UInt64 = 0
  package var droppedLogLines: UInt64 = 0

  package init(reference: PluginReference, sha256: String, placement: PluginPlacement) {
    self.reference = reference
    self.sha256 = sha256
    self.placement = placement
  }
}

/// What a probe saw.
package struct ProbeReport: Sendable, Hashable {
  /// From the start of the child to the end of the load; of it the load alone, nanoseconds.
  package var startNanoseconds: Int64 = 0
  package var loadNanoseconds: Int64 = 0
  /// Calls that were made and answered.
  package var calls = 0
  /// Partitioner: a record, in batches of 100, nanoseconds, as the broker sees it.
  package var nanosecondsPerRecord: Int64 = 0
  package var residentBytes: Int64 = 0
  /// The version of Landlock around it; 0: the kernel has none.
  package var landlock: UInt32 = 0
  /// One line for `PluginCheck.detail`.
  package var detail = ""
  package init() {}
}
