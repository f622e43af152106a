import SkeinCore
import Synchronization
import Transport
import Wire

/// A topic gets another partitioner while it is in use: the steps, as they are done.
///
/// ```swift
/// var options = PartitionerChangeOptions()
/// options.fence = true
/// for try await step in client.admin.setPartitioner("orders", to: PartitionerBinding("com.acme.sticky@1.2.0"), options) {
///   print(step.phase, step.generation)
/// }
/// ```
/// Iterating asks the broker, once: it is never repeated after a lost connection. After `committed` the change is
/// durable and the broker goes on alone, so the iteration may be left; before, leaving it changes nothing. It ends
/// after `done` or `rolledBack`.
/// - Note: errors while iterating: TOPIC_NOT_FOUND, PLUGIN_NOT_FOUND, PLUGIN_WRONG_KIND, PLUGIN_CONFIG_INVALID,
///   PLUGIN_DISABLED, PLUGIN_QUARANTINED, REORDER_NOT_ACCEPTED, SWAP_IN_PROGRESS, CONFLICT (nothing was changed);
///   CONNECTION_LOST with `outcome == .unknown`: look at the topic's generations.
public struct PartitionerChange: AsyncSequence, Sendable {
  public typealias Element = PartitionerProgress
  private let client: Client
  private let path: String
  private let request: [UInt8]

  init(_ client: Client, path: String, request: [UInt8]) {
    self.client = client
    self.path = path
    self.request = request
  }

  public struct AsyncIterator: AsyncIteratorProtocol {
    private let session: ChangeSession
    init(_ session: ChangeSession) { self.session = session }
    /// - Throws: `SkeinError`.
    public mutating func next() async throws -> PartitionerProgress? { try await session.stream.next() }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(ChangeSession(client, path, request)) }
}

/// Owns the task behind one iterator: dropped with it.
final class ChangeSession: Sendable {
  let stream: ChangeStream
  private let task: Task<Void, Never>

  init(_ client: Client, _ path: String, _ request: [UInt8]) {
    let stream = ChangeStream(request: request)
    self.stream = stream
    task = client.supervisors.start {
      do throws(SkeinError) {
        let connection = try await client.connector.connect()
        let (error, _) = await StreamSession.run(stream, path: path, on: connection)
        await connection.close()
        stream.end(error)
      } catch { stream.end(error) }
    }
  }

  deinit {
    stream.end(nil)
    task.cancel()
  }
}

/// The steps that wait for the consumer: nine at most. Any thread.
final class ChangeStream: StreamDelegate {
  private struct State {
    var queue = FIFO<PartitionerProgress>()
    var failure: SkeinError?
    var isOver = false
    var reader: CheckedContinuation<Void, Never>?
  }

  /// A broker tells less than this; whoever tells more is none.
  private static let limit = 1_000
  private let request: [UInt8]
  private let state = Mutex(State())

  init(request: [UInt8]) { self.request = request }

  func next() async throws(SkeinError) -> PartitionerProgress? {
    while true {
      if Task.isCancelled { throw SkeinError(wrapping: CancellationError()) }
      let (step, failure, isOver) = state.withLock { state in
        let step = state.queue.popFirst()
        let failure = step == nil ? state.failure : nil
        if failure != nil { state.failure = nil }
        return (step, failure, state.isOver)
      }
      if let step { return step }
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

  // MARK: StreamDelegate, on the loop

  func started(_ stream: StreamSession) {
    stream.send(OutboundMessage(head: request))
    stream.sendEnd()
  }

  func received(_ message: SharedBytes, on stream: StreamSession) throws(SkeinError) {
    let progress: BindProgress
    do {
      progress = try BindProgress(decoding: message, limits: .reply)
    } catch { throw SkeinError(error) }
    let isTooMuch = state.withLock { state in
      guard state.queue.count < Self.limit else { return true }
      state.queue.append(PartitionerProgress(progress))
      return false
    }
    guard !isTooMuch else {
      throw SkeinError(
        .internalError, "the broker tells of more than \(Self.limit) steps of one change", outcome: .unknown)
    }
    wake()
  }

  func writable(_ stream: StreamSession) {}
  func readIdle(_ stream: StreamSession) {}
  func heartbeat(now wallMilliseconds: Int64) -> OutboundMessage? { nil }
  /// The broker says nothing while it watches; whether it is there, the connection's keepalive tells.
  var silenceLimit: Int64 { .max }
}
