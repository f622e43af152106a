import SkeinCore
import Synchronization
import Transport
import Wire

/// One step of a long operation of the broker's, told on a stream that answers one request.
protocol ProgressStep: Sendable {
  associatedtype Message: WireMessage
  init(_ wire: Message)
  /// `other`, which waits and came just before, need not be told any more.
  func replaces(_ other: Self) -> Bool
}

/// Owns the task behind one iterator: dropped with it.
final class StepSession<Step: ProgressStep>: Sendable {
  let stream: StepStream<Step>
  private let task: Task<Void, Never>

  init(_ client: Client, _ path: String, _ request: [UInt8]) {
    let stream = StepStream<Step>(request: request)
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

/// The steps that wait for the consumer. Any thread.
final class StepStream<Step: ProgressStep>: StreamDelegate {
  private struct State {
    var queue = FIFO<Step>()
    var failure: SkeinError?
    var isOver = false
    var reader: CheckedContinuation<Void, Never>?
  }

  /// A broker tells less than this; whoever tells more is none.
  private let limit = 1_000
  private let request: [UInt8]
  private let state = Mutex(State())

  init(request: [UInt8]) { self.request = request }

  func next() async throws(SkeinError) -> Step? {
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
    let step: Step
    do {
      step = Step(try Step.Message(decoding: message, limits: .reply))
    } catch { throw SkeinError(error) }
    let isTooMuch = state.withLock { state in
      let last = state.queue.count - 1
      if last >= 0, step.replaces(state.queue[last]) {
        state.queue[last] = step
        return false
      }
      guard last + 1 < limit else { return true }
      state.queue.append(step)
      return false
    }
    guard !isTooMuch else {
      throw SkeinError(
        .internalError, "the broker tells of more than \(limit) steps of one operation", outcome: .unknown)
    }
    wake()
  }

  func writable(_ stream: StreamSession) {}
  func readIdle(_ stream: StreamSession) {}
  func heartbeat(now wallMilliseconds: Int64) -> OutboundMessage? { nil }
  /// The broker says nothing while it works; whether it is there, the connection's keepalive tells.
  var silenceLimit: Int64 { .max }
}
