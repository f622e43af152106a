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
    var queue = FIFO<ClusterChange>()
    var failure: SkeinError?
    var isOver = false
    /// The consumer was too slow: nothing of this stream counts any more.
    var isBehind = false
    var reader: CheckedContinuation<Void, Never>?
  }

  private let state = Mutex(State())

  // MARK: The consumer's side

  func next() async throws(SkeinError) -> ClusterChange? {
    while true {
      if Task.isCancelled { throw SkeinError(wrapping: CancellationError()) }
      let (change, failure, isOver) = state.withLock { state in
        let change = state.queue.popFirst()
        let failure = change == nil ? state.failure : nil
        if failure != nil { state.failure = nil }
        return (change, failure, state.isOver)
      }
      if let change { return change }
      if let failure { throw failure }
      if isOver { return nil }
      await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
          let isReady = state.withLock { state in
            if !state.queue.isEmpty || state.isOver || Task.isCancelled { return true }
            state.reader = continuation
            return false
          }
          if isReady { continuation.resume() }
        }
      } onCancel: {
        wake()
      }
    }
  }

  private func wake() {
    let reader = state.withLock { state in
      defer { state.reader = nil }
      return state.reader
    }
    reader?.resume()
  }

  func end(_ error: SkeinError?) {
    state.withLock { state in
      if !state.isOver { state.failure = error }
      state.isOver = true
    }
    wake()
  }

  // MARK: SupervisedStream

  var isOver: Bool { state.withLock { $0.isOver } }

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
      guard state.queue.count < Self.limit else {
        _ = state.queue.drain()
        state.revision = 0
        state.isBehind = true
        return true
      }
      state.revision = response.revision
      state.queue.append(ClusterChange(response))
      return false
    }
    if isBehind { stream.cancel(nil) } else { wake() }
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
