/// How a consumer is a member of its group, and how much it buffers. Every field has a default that suits a service.
public struct ConsumerConfiguration: Sendable {
  /// Where a partition begins of which the group has committed nothing. Default: earliest.
  public var start: GroupStart = .earliest
  /// What to do when the group's position is outside the log. Default: fail.
  public var outOfRange: OutOfRangePolicy = .fail
  /// How often what was processed is committed; nil: only `commit` does. Default 1 s. A crash repeats at most this
  /// much. What is left is committed when a partition is given back, and at the end.
  public var commitInterval: Duration? = .seconds(1)
  /// A loop's records count as processed one by one, in any order, when `Consumer.acknowledge` says so, and not when
  /// the loop asks for the next one: for applications that hand them on. Commits cover what is acknowledged without a
  /// gap. Behind 10,000 of a partition of which some are not, no more of it comes; leave none out. What is not
  /// acknowledged when its partition goes away comes again. Default: false. (`run` is not concerned.)
  public var acknowledges = false
  /// How long the application may be at work on what it took without asking for more; past it the member is
  /// removed from its group. `Consumer.extend()` begins it anew. 1 s to 1 h; default 5 min.
  public var processingDeadline: Duration = .seconds(300)
  /// A name that outlives the process (static membership): its partitions wait for it for the session time. One
  /// member of a group at a time has it.
  public var instanceID: String?
  /// For assignment by affinity, e.g. `["zone": "a"]`; up to 16.
  public var labels: [String: String] = [:]
  /// sticky, range, round-robin or affinity:LABEL; nil: the group's. All members ask for the same.
  public var assignor: String?
  /// For people, in `skein group describe`.
  public var clientID = ""
  /// What the application is told of its partitions. Handlers that hold the consumer keep it from being dropped: such
  /// a one is to be closed.
  public var rebalance = RebalanceHandlers()
  /// Called when a commit for which nobody waits (`commitInterval`, `commitSoon`) is refused for good. It must return
  /// quickly. The records are repeated after the next assignment, unless a later commit passes.
  public var commitFailed: (@Sendable (ConsumedPartition, SkeinError) -> Void)?
  /// Stored batch bytes that may be on their way or waiting to be taken, over all partitions. Default 8 MiB. One
  /// batch may go over it.
  public var bufferBytes = 8 * 1024 * 1024
  /// Records that may be on their way or waiting. Default 1,000,000.
  public var bufferRecords = 1_000_000
  /// Stored bytes in one message of the broker at most. Default 256 KiB.
  public var maxMessageBytes = 256 * 1024
  /// What `close` waits for handlers, the last commit and the broker's answer. Default 10 s.
  public var closeTimeout: Duration = .seconds(10)

  public init() {}

  /// Everything wrong with the values, in one error. What names and patterns may be is the broker's to say.
  func validated(group: String, topics: [String], patterns: [String]) throws(SkeinError)
    -> ConsumerConfiguration
  {
    var violations: [SkeinError.FieldViolation] = []
    func check(_ field: String, _ ok: Bool, _ text: String) {
      if !ok { violations.append(.init(field: field, description: text)) }
    }
    check("group", !group.isEmpty, "must be given")
    check("topics", !topics.isEmpty || !patterns.isEmpty, "at least one topic or pattern must be given")
    check(
      "commitInterval", commitInterval.map { $0 >= .milliseconds(10) && $0 <= .seconds(3600) } ?? true,
      "must be 10 ms to 1 h, or nil")
    check(
      "processingDeadline", processingDeadline >= .seconds(1) && processingDeadline <= .seconds(3600),
      "must be 1 s to 1 h, is \(processingDeadline)")
    check("bufferBytes", bufferBytes >= 1, "must be at least 1")
    check("bufferRecords", bufferRecords >= 1, "must be at least 1")
    check("maxMessageBytes", (1...(15 << 20)).contains(maxMessageBytes), "must be 1 to 15728640")
    check(
      "closeTimeout", closeTimeout > .zero && closeTimeout <= .seconds(600), "must be above 0, at most 10 min"
    )
    guard violations.isEmpty else {
      var error = SkeinError(
        .invalidRequest,
        "consumer configuration: "
          + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "))
      error.violations = violations
      throw error
    }
    return self
  }
}
