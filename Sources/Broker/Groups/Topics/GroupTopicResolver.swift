import GroupCoordination
import Logging
import SkeinCore
import Synchronization

/// Finds out what the subscriptions of groups stand for, and tells it again when topics come, go or grow.
///
/// Only topics of the group's own tenant are looked at, and none whose name is kept for the system. Threading: `want`,
/// `changed`, `keep` from any thread, at once; the work is done by `run`, off the event loops.
final class GroupTopicResolver: Sendable {
  typealias Receive = @Sendable (GroupKey, GroupTopics) -> Void

  private struct TopicName: Hashable {
    var tenant: TenantName
    var name: String
  }

  private struct State {
    /// Of groups with members.
    var wanted: [GroupKey: Subscription] = [:]
    var dirty: Set<GroupKey> = []
    var changes: Set<TopicName> = []
    var isStopped = false
  }
  private struct Receiver: Sendable { var receive: Receive = { _, _ in } }

  /// How long one pattern may take over all topics of a tenant, in nanoseconds; it matches nothing more then.
  static let patternPatience: Int64 = 500_000_000
  /// Topics that one pattern may match; the rest is left out, because no group could take them.
  static let maximumMatches = 20_000

  private let registry: TopicRegistry
  private let time: any TimeSource
  private let logger: Logger
  private let state = Mutex(State())
  private let receiver = Mutex(Receiver())
  private let signals: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation
  /// Patterns that took too long, or too many steps for a name.
  let abandoned = Counter()

  init(registry: TopicRegistry, time: any TimeSource, logger: Logger) {
    self.registry = registry
    self.time = time
    self.logger = logger
    (signals, signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  /// Who is told; once, before the first `want`.
  func tell(_ receive: @escaping Receive) { receiver.withLock { $0.receive = receive } }

  /// The subscription of a group with members, from now on.
  func want(_ subscription: Subscription, of key: GroupKey) {
    state.withLock { state in
      state.wanted[key] = subscription
      state.dirty.insert(key)
    }
    signal.yield()
  }

  /// A topic was made, deleted or changed.
  func changed(_ topic: Topic) {
    guard topic.tenant != .system else { return }
    state.withLock { _ = $0.changes.insert(TopicName(tenant: topic.tenant, name: topic.name)) }
    signal.yield()
  }

  /// Forgets groups of one partition of `__groups` that have no members any more.
  func keep(_ live: Set<GroupKey>?, ofPartition partition: Int32) {
    guard let live else { return }
    state.withLock { state in
      for key in state.wanted.keys where key.partition() == partition && !live.contains(key) {
        state.wanted[key] = nil
      }
    }
  }

  var count: Int { state.withLock { $0.wanted.count } }

  func stop() {
    state.withLock { $0.isStopped = true }
    signal.finish()
  }

  // MARK: Work

  /// Until `stop`.
  func run() async {
    for await _ in signals {
      // Compiled for this round only: many groups of one round have the same patterns.
      var matches: [TenantPattern: [String]] = [:]
      let (dirty, wanted) = take()
      for key in dirty {
        guard let subscription = wanted[key] else { continue }
        let topics = resolve(subscription, of: key, &matches)
        let receive = receiver.withLock { $0.receive }
        receive(key, topics)
        await Task.yield()
        if state.withLock({ $0.isStopped }) { return }
      }
    }
  }

  /// What is to be resolved: what was asked for, and whom a change of topics may concern.
  private func take() -> (dirty: [GroupKey], wanted: [GroupKey: Subscription]) {
    state.withLock { state in
      var dirty = state.dirty
      if !state.changes.isEmpty {
        let names = Set(state.changes.map { GroupKey(tenant: $0.tenant.rawValue, name: $0.name) })
        let tenants = Set(state.changes.map(\.tenant.rawValue))
        for (key, subscription) in state.wanted where tenants.contains(key.tenant) && !dirty.contains(key) {
          let isConcerned =
            !subscription.patterns.isEmpty
            || subscription.names.contains { names.contains(GroupKey(tenant: key.tenant, name: $0)) }
          if isConcerned { dirty.insert(key) }
        }
      }
      state.dirty = []
      state.changes = []
      return (dirty.sorted(), state.wanted)
    }
  }

  private struct TenantPattern: Hashable {
    var tenant: String
    var pattern: String
  }

  private func resolve(
    _ subscription: Subscription, of key: GroupKey, _ matches: inout [TenantPattern: [String]]
  ) -> GroupTopics {
    let tenant = TenantName(rawValue: key.tenant)
    var names = Set(subscription.names)
    var patterns: [String: [String]] = [:]
    for pattern in subscription.patterns {
      let id = TenantPattern(tenant: key.tenant, pattern: pattern)
      let found = matches[id] ?? match(pattern, of: tenant)
      matches[id] = found
      patterns[pattern] = found
      names.formUnion(found)
    }
    var topics: [GroupTopics.Topic] = []
    for name in names where SkeinCore.TopicName.problem(name) == nil {
      // A topic that does not exist (yet) is waited for.
      guard let topic = try? registry.topic(name, of: tenant) else { continue }
      let places = topic.settings.places
      topics.append(
        GroupTopics.Topic(
          name: name, id: topic.id, partitions: topic.partitions,
          places: places.isEmpty ? [] : (0..<Int(topic.partitions)).map { places[$0 % places.count] }))
    }
    // Deleted since it was matched: the change comes again, but a message must not contradict itself.
    let existing = Set(topics.map(\.name))
    return GroupTopics(topics: topics, patterns: patterns.mapValues { $0.filter(existing.contains) })
  }

  /// The names that match, in order.
  private func match(_ text: String, of tenant: TenantName) -> [String] {
    guard let pattern = try? TopicPattern(text) else { return [] }  // checked when the member joined
    let until = time.monotonicNanoseconds + Self.patternPatience
    var found: [String] = []
    var after = ""
    while true {
      let page = registry.page(of: tenant, after: after, limit: 256)
      guard let last = page.last else { return found }
      after = last.name
      for topic in page where SkeinCore.TopicName.problem(topic.name) == nil {
        switch pattern.match(topic.name) {
        case .yes: found.append(topic.name)
        case .no: continue
        case .tooMuchWork: return abandon(text, tenant, "a name needs too many steps", found)
        }
      }
      if time.monotonicNanoseconds > until { return abandon(text, tenant, "it takes too long", found) }
      if found.count > Self.maximumMatches {
        return abandon(text, tenant, "it matches too many topics", found)
      }
    }
  }

  private func abandon(_ pattern: String, _ tenant: TenantName, _ why: String, _ found: [String]) -> [String]
  {
    abandoned.add(1)
    logger.warning(
      "a pattern of a group is given up; it stands for what was found so far",
      metadata: [
        "tenant": "\(tenant.rawValue)", "pattern": "\(pattern.displayable)", "why": "\(why)",
        "found": "\(found.count)",
      ])
    return found
  }
}
