import NIOCore
import SkeinCore
import Transport
import Wire

/// Topics and health as they change, without asking again and again.
///
/// ```swift
/// for try await change in client.admin.watch() {
///   for topic in change.topics { print(topic.name, topic.partitionCount) }
/// }
/// ```
/// First comes everything that is (`isReset`, then `isSynced` on the last message of it), then changes. It goes on
/// after a lost connection where it stopped, or begins anew with `isReset`. A consumer that is too slow gets a
/// new snapshot instead of an ever longer queue. Each iterator is a stream of its own; it ends with its task.
public struct ClusterWatch: AsyncSequence, Sendable {
  public typealias Element = ClusterChange
  private let client: Client

  init(_ client: Client) { self.client = client }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let session: WatchSession
    init(_ client: Client) { session = WatchSession(client) }

    /// - Throws: `SkeinError` when no broker was reached for `unreachableTimeout`, or it refuses for good.
    public mutating func next() async throws -> ClusterChange? { try await session.stream.next() }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(client) }
}

/// What is new. Forget everything if `isReset`, then take over what it says.
public struct ClusterChange: Sendable {
  /// A topic that is gone.
  public struct Deleted: Sendable, Hashable {
    public var name: String
    public var id: String
  }

  public var revision: Int64
  /// A snapshot begins: forget every topic.
  public var isReset: Bool
  /// The snapshot, or what was missed, is complete.
  public var isSynced: Bool
  /// New or changed.
  public var topics: [TopicSummary]
  public var deleted: [Deleted]
  /// Set when it changed, and in a snapshot's first message.
  public var broker: BrokerState?
  public var level: HealthLevel?
  public var offlinePartitions: Int?
}

/// Owns the task behind one iterator: dropped with it.
private final class WatchSession: Sendable {
  let stream: WatchStream
  private let supervisor: Task<Void, Never>

  init(_ client: Client) {
    let stream = WatchStream()
    self.stream = stream
    let patience = client.configuration.unreachableTimeout.nanosecondsClamped
    let supervision = StreamSupervisor(
      connector: client.connector, path: ClusterMethod.watch, patience: { patience })
    supervisor = client.supervisors.start {
      await supervision.run(stream)
      stream.end(SkeinError(.cancelled, "the watch's client is closed", outcome: .definite))
    }
  }

  deinit {
    stream.end(nil)
    supervisor.cancel()
  }
}
