import SkeinCore
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
  /// A broker tells less than this; whoever tells more is none.
  private let limit = 1_000
  private let request: [UInt8]
  private let mailbox = Mailbox<Step>()

  init(request: [UInt8]) { self.request = request }

  func next() async throws(SkeinError) -> Step? { try await mailbox.next() }

  func end(_ error: SkeinError?) { mailbox.end(error) }

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
    let isTooMuch = mailbox.update { queue in
      let last = queue.count - 1
      if last >= 0, step.replaces(queue[last]) {
        queue[last] = step
        return false
      }
      guard last + 1 < limit else { return true }
      queue.append(step)
      return false
    }
    guard !isTooMuch else {
      throw SkeinError(
        .internalError, "the broker tells of more than \(limit) steps of one operation", outcome: .unknown)
    }
  }

  func writable(_ stream: StreamSession) {}
  func readIdle(_ stream: StreamSession) {}
  func heartbeat(now wallMilliseconds: Int64) -> OutboundMessage? { nil }
  /// The broker says nothing while it works; whether it is there, the connection's keepalive tells.
  var silenceLimit: Int64 { .max }
}
