import CommitLog
import SkeinCore

/// How the broker is and what to do about it: a pure judgement over numbers that somebody else gathered.
struct HealthReport: Sendable {
  enum Severity: Int, Sendable, Comparable {
    case ok, degraded, failed
    static func < (a: Severity, b: Severity) -> Bool { a.rawValue < b.rawValue }
  }

  struct Problem: Sendable {
    var severity: Severity
    var subject: String
    var reason: Reason?
    var what: String
    var action: String
  }

  /// What is judged.
  struct Facts: Sendable {
    var phase: HealthState.Phase
    var directory: DirectoryCondition
    var memoryReserved: Int
    var memoryLimit: Int
    /// "topic/partition" and why, at most a few; and how many there are.
    var offline: [(name: String, why: String)]
    var offlineCount: Int
    /// Why the token listener lets nobody in; nil: it does, or there is none.
    var authenticator: Fault? = nil
    /// A thread of the broker hangs in a plug-in.
    var stuckPlugin: String? = nil
    /// Topics whose plug-in does not place records, and why, at most a few; and how many there are.
    var unplaced: [(topic: String, fault: Fault)] = []
    var unplacedCount = 0
    /// Partitions of `__groups` whose groups are not coordinated, and why.
    var groupFaults: [(partition: Int32, fault: Fault)] = []
    /// Offset stores that do not answer, and why.
    var silentStores: [(name: String, fault: Fault)] = []
  }

  /// Queues, journal and memory above this share of their limit are told, in percent.
  static let nearlyFullPercent = 90

  /// The worst first.
  private(set) var problems: [Problem] = []

  var severity: Severity { problems.first?.severity ?? .ok }

  init(_ facts: Facts) {
    judgePhase(facts.phase)
    judgeDirectory(facts.directory)
    judgeOffline(facts)
    if Self.isNearlyFull(facts.memoryReserved, of: facts.memoryLimit) {
      add(
        .degraded, "memory budget", .overloaded,
        "\(facts.memoryReserved) of \(facts.memoryLimit) bytes are reserved",
        "close idle streams, or raise memory.budget-bytes")
    }
    if let fault = facts.authenticator {
      add(
        .degraded, "token listener", fault.reason,
        "nobody is let in with a token (fail closed): \(fault.message)",
        "see `skein plugin list` and token-authenticator; the listener with client certificates is not concerned"
      )
    }
    judgePlugins(facts)
    judgeGroups(facts)
    for (name, fault) in facts.silentStores {
      add(
        .degraded, "offset store \(name)", fault.reason, "it does not answer: \(fault.message)",
        "see to its server and its plug-in; commits to it are refused meanwhile, and its groups go on up to groups.max-uncommitted"
      )
    }
    // Stable: problems of one severity keep the order above.
    problems = problems.enumerated().sorted {
      ($1.element.severity, $0.offset) < ($0.element.severity, $1.offset)
    }.map(\.element)
  }

  private mutating func judgePhase(_ phase: HealthState.Phase) {
    switch phase {
    case .ready, .failed: break  // a failed broker has a directory that says why
    case .starting:
      add(.degraded, "broker", .notReady, "it is recovering its log", "wait; the log shows how far it is")
    case .draining:
      add(
        .degraded, "broker", .draining, "it is stopping and takes no new calls",
        "connect elsewhere, or again once it was restarted")
    }
  }

  private mutating func judgeDirectory(_ directory: DirectoryCondition) {
    let free = directory.space?.free ?? .max
    switch directory.state {
    case .offline(let error):
      return add(
        .failed, "log directory", .logOffline, "it is offline after an I/O error: \(error)",
        "repair the disk, then restart the broker: it recovers what is durable")
    case .full:
      add(
        .failed, "log directory", .diskFull,
        "\(free) bytes are free, less than the reserve of \(directory.reserveBytes); publishing is refused",
        "free space, shorten retention, delete topics, or lower disk.reserve-bytes")
    case .online where free < directory.reserveBytes * 2:
      add(
        .degraded, "log directory", nil,
        "\(free) bytes are free; at \(directory.reserveBytes) publishing will be refused",
        "free space, shorten retention, or add disk")
    case .online: break
    }
    let used = Int(clamping: directory.journalUsedBytes)
    if Self.isNearlyFull(used, of: Int(clamping: directory.journalBytes)) {
      add(
        .degraded, "journal", .overloaded, "\(used) of \(directory.journalBytes) bytes wait for segments",
        "the disk is slower than the load: slow down, use a faster disk, or make journal.bytes larger")
    }
    if Self.isNearlyFull(directory.queuedBytes, of: directory.queuedLimit) {
      add(
        .degraded, "submission queue", .overloaded,
        "\(directory.queuedBytes) of \(directory.queuedLimit) bytes wait for a sync",
        "the disk's fdatasync is slower than the load: slow down or use a faster disk")
    }
    if Self.isNearlyFull(directory.unwrittenBytes, of: directory.unwrittenLimit) {
      add(
        .degraded, "write-behind", .overloaded,
        "\(directory.unwrittenBytes) of \(directory.unwrittenLimit) bytes wait for segments",
        "the disk is slower than the load: slow down or use a faster disk")
    }
    if directory.isRetentionPaused {
      add(
        .degraded, "clock", nil,
        "the wall clock jumped by more than 5 minutes; retention waits up to an hour",
        "check the time service of this machine")
    }
  }

  private mutating func judgePlugins(_ facts: Facts) {
    if let stuck = facts.stuckPlugin {
      add(
        .failed, "plug-in", .pluginFault, stuck,
        "the broker will end by itself and quarantine it; use a version that does not hang, outside the broker"
      )
    }
    for (topic, fault) in facts.unplaced {
      add(
        .degraded, "topic \(topic)", fault.reason, "its partitioner does not answer: \(fault.message)",
        "see `skein plugin info`; give the topic another one with `skein topic partitioner set`")
    }
    let more = facts.unplacedCount - facts.unplaced.count
    if more > 0 {
      add(
        .degraded, "topics", .partitionerUnavailable, "the partitioners of \(more) more do not answer",
        "see `skein plugin list`")
    }
  }

  private mutating func judgeGroups(_ facts: Facts) {
    for (partition, fault) in facts.groupFaults {
      add(
        .failed, "partition __groups/\(partition)", fault.reason,
        "consumer groups of this partition are not coordinated: \(fault.message)",
        "members keep what they have, but nobody joins or commits; it is tried again every minute")
    }
  }

  private mutating func judgeOffline(_ facts: Facts) {
    for (name, why) in facts.offline {
      add(
        .degraded, "partition \(name)", .dataCorrupt, why,
        "stop the broker and restore the partition's files, or give up what is damaged with Cluster/AcceptLoss"
      )
    }
    let more = facts.offlineCount - facts.offline.count
    if more > 0 {
      add(
        .degraded, "partitions", .dataCorrupt, "\(more) more are offline",
        "see offline_partitions and Topics/Describe")
    }
  }

  private static func isNearlyFull(_ used: Int, of limit: Int) -> Bool {
    limit > 0 && Double(used) * 100 >= Double(limit) * Double(nearlyFullPercent)
  }

  private mutating func add(
    _ severity: Severity, _ subject: String, _ reason: Reason?, _ what: String, _ action: String
  ) {
    problems.append(
      Problem(severity: severity, subject: subject, reason: reason, what: what, action: action))
  }
}
