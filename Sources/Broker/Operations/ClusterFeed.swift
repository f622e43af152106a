import NIOCore
import SkeinCore
import Synchronization

/// The latest changes of topics and of the broker's status, for `Cluster/Watch`: one bounded ring for all
/// watchers, who each remember only how far they are. A change names what changed; what it is now is read
/// when a message is made, so that any number of changes of one topic cost a slow watcher one message.
///
/// Revisions begin at the start's wall clock, so that they rise from life to life of a broker.
/// Threading: any thread.
final class ClusterFeed: Sendable {
  struct Status: Sendable, Equatable {
    var phase = HealthState.Phase.starting
    var severity = HealthReport.Severity.ok
    var offlinePartitions = 0
  }

  struct TopicChange: Sendable {
    let tenant: TenantName
    let name: String
    let id: TopicID
  }

  /// What a watcher has missed.
  struct News: Sendable {
    var revision: Int64
    /// One for each topic that changed, in the order of the last changes.
    var topics: [TopicChange]
    var status: Status?
    /// There is more behind `revision`.
    var hasMore: Bool
  }

  private struct State {
    var revision: Int64
    /// The changes of revisions `revision - changes.count + 1 ... revision`; nil = of the status.
    var changes = CircularBuffer<TopicChange?>()
    var status = Status()
    var nextWatcher = 0
    var watchers: [Int: Watcher] = [:]
  }
  /// A closure in a struct: as a bare value behind a Mutex it would be wrapped again by every access.
  private struct Watcher: Sendable { let notify: @Sendable () -> Void }

  private let capacity: Int
  private let state: Mutex<State>

  init(startedMilliseconds: Int64, capacity: Int) {
    self.capacity = capacity
    // Room for a million changes a millisecond before two lives could meet.
    state = Mutex(State(revision: max(1, startedMilliseconds) << 20))
  }

  var revision: Int64 { state.withLock { $0.revision } }
  var status: Status { state.withLock { $0.status } }
  var watcherCount: Int { state.withLock { $0.watchers.count } }

  // MARK: Changes

  func changed(_ topic: Topic) {
    add(TopicChange(tenant: topic.tenant, name: topic.name, id: topic.id)) { _ in true }
  }

  /// Tells watchers if it differs from what they were told last.
  func set(_ change: @escaping (inout Status) -> Void) {
    add(nil) { state in
      let before = state.status
      change(&state.status)
      return state.status != before
    }
  }

  private func add(_ change: TopicChange?, if applies: (inout State) -> Bool) {
    let watchers = state.withLock { state -> [Watcher] in
      guard applies(&state) else { return [] }
      state.revision += 1
      state.changes.append(change)
      while state.changes.count > capacity { state.changes.removeFirst() }
      return Array(state.watchers.values)
    }
    for watcher in watchers { watcher.notify() }
  }

  // MARK: Watchers

  /// `notify` is called after each change, on the changing thread, until `unwatch`.
  func watch(_ notify: @escaping @Sendable () -> Void) -> Int {
    state.withLock { state in
      state.nextWatcher += 1
      state.watchers[state.nextWatcher] = Watcher(notify: notify)
      return state.nextWatcher
    }
  }

  func unwatch(_ id: Int) { _ = state.withLock { $0.watchers.removeValue(forKey: id) } }

  /// The changes behind `revision` that concern a tenant, at most `limit` topics; nil when the feed cannot
  /// go on from there (too old, or of another life): begin with a snapshot.
  func news(after revision: Int64, for tenant: TenantName, limit: Int) -> News? {
    state.withLock { state in
      let oldest = state.revision - Int64(state.changes.count)
      guard (oldest...state.revision).contains(revision) else { return nil }
      var news = News(revision: revision, topics: [], status: nil, hasMore: false)
      var places: [String: Int] = [:]
      for change in state.changes.dropFirst(Int(revision - oldest)) {
        if let change, change.tenant == tenant {
          if let place = places[change.name] {
            news.topics[place] = change
          } else if news.topics.count == limit {
            news.hasMore = true
            break
          } else {
            places[change.name] = news.topics.count
            news.topics.append(change)
          }
        } else if change == nil {
          news.status = state.status
        }
        news.revision += 1
      }
      return news
    }
  }
}
