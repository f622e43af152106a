import GroupCoordination

/// Joins of one turn of the loop. A group divides its partitions once for all of its own, so that a thousand that join at
/// once do not cost a thousand divisions; the longer one division takes, the more come together for the next.
///
/// A value of its `CoordinatorHost`, on its loop.
struct GatheredJoins {
  typealias Join = (request: JoinRequest, session: SessionID, token: ReplyToken)

  /// Bytes, about, and joins that are gathered at most: those of a group are one append, which must fit a batch.
  static let maximumBytes = 1 << 20
  static let maximumCount = 1_000

  /// In the order in which their first came.
  private var groups: [GroupKey] = []
  private var joins: [GroupKey: [Join]] = [:]
  private var members: Set<String> = []
  private var count = 0
  private var bytes = 0

  var isEmpty: Bool { count == 0 }
  var isFull: Bool { count >= Self.maximumCount || bytes >= Self.maximumBytes }

  mutating func add(_ join: Join) {
    let key = join.request.group
    if joins[key] == nil { groups.append(key) }
    joins[key, default: []].append(join)
    members.insert(join.request.memberID)
    count += 1
    bytes += join.request.roughBytes
  }

  /// All of them, one event a group.
  mutating func take() -> [GroupEvent] {
    let events = groups.compactMap { joins[$0].map { GroupEvent.joins($0) } }
    self = GatheredJoins()
    return events
  }

  /// Whether the event may overtake them: it is of other members.
  func mayBeOvertaken(by event: GroupEvent) -> Bool {
    switch event {
    case .durable, .streamAlive: true
    case .request(.heartbeat(let heartbeat, _), _): !members.contains(heartbeat.memberID)
    case .request(.commit(let commit), _), .request(.checkCommit(let commit), _):
      commit.member.map { !members.contains($0.id) } ?? false
    case .request(.fetchOffsets(let fetch), _): fetch.member.map { !members.contains($0.id) } ?? true
    default: false
    }
  }
}

extension JoinRequest {
  /// What it takes in a record, about.
  fileprivate var roughBytes: Int {
    func sum(_ texts: some Sequence<String>) -> Int { texts.reduce(0) { $0 + $1.utf8.count + 2 } }
    return 600 + sum(subscription.names) + sum(subscription.patterns) + sum(labels.keys) + sum(labels.values)
  }
}
