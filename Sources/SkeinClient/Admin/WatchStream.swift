import SkeinCore
import Synchronization
import Transport
import Wire

/// `Cluster/Watch` over single streams: where it was, and what waits for the consumer. Any thread.
final class WatchStream: SupervisedStream {
  /// Changes that may wait; over it they are dropped and a snapshot is asked for.
  static let limit = 1_000

  private struct State {
    var revision: Int64 = 0
    /// The consumer was too slow: nothing of this stream counts any more.
    var isBehind = false
  }

  private let state = Mutex(State())
  private let mailbox = Mailbox<ClusterChange>()

  func next() async throws(SkeinError) -> ClusterChange? { try await mailbox.next() }

  func end(_ error: SkeinError?) { mailbox.end(error) }

  // MARK: SupervisedStream

  var isOver: Bool { mailbox.isOver }

  func streamEnded(_ error: SkeinError?) -> StreamContinuation {
    state.withLock { state in
      defer { state.isBehind = false }
      return state.isBehind ? .atOnce : .afterBackoff
    }
  }

  func gaveUp(_ error: SkeinError) { end(error) }

  // MARK: StreamDelegate, on the loop

  func started(_ stream: StreamSession) {
    let revision = state.withLock { $0.revision }
    stream.send(OutboundMessage(head: WatchClusterRequest(fromRevision: revision).encoded()))
    stream.sendEnd()
  }

  func received(_ message: SharedBytes, on stream: StreamSession) throws(SkeinError) {
    let response: WatchClusterResponse
    do {
      response = try WatchClusterResponse(decoding: message, limits: .reply)
    } catch { throw SkeinError(error) }
    guard response.heartbeat == nil, response.goAway == nil else { return }
    let isBehind = state.withLock { state in
      guard !state.isBehind else { return false }
      state.isBehind = mailbox.update { queue in
        guard queue.count < Self.limit else {
          _ = queue.drain()
          return true
        }
        queue.append(ClusterChange(response))
        return false
      }
      state.revision = state.isBehind ? 0 : response.revision
      return state.isBehind
    }
    if isBehind { stream.cancel(nil) }
  }

  func writable(_ stream: StreamSession) {}
  func readIdle(_ stream: StreamSession) {}
  /// A server stream: this side has said everything.
  func heartbeat(now wallMilliseconds: Int64) -> OutboundMessage? { nil }
}

extension ClusterChange {
  init(_ wire: WatchClusterResponse) {
    self.init(
      revision: wire.revision, isReset: wire.reset, isSynced: wire.synced,
      topics: wire.topics.map(TopicSummary.init),
      deleted: wire.deleted.map { Deleted(name: $0.name, id: $0.topicID) },
      broker: wire.status.map { BrokerState($0.phase) }, level: wire.status.map { HealthLevel($0.health) },
      offlinePartitions: wire.status.map { Int($0.offlinePartitionCount) })
  }
}
