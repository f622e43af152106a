import NIOCore
import SkeinCore
import Synchronization
import Transport
import Wire

/// The consumer's side of `Consumer/Subscribe`: hands what comes to the core, and sends what the core says. Outlives
/// single streams.
///
/// `@unchecked Sendable`: `lastError` is locked; everything else is immutable.
final class ConsumerStream: SupervisedStream, @unchecked Sendable {
  private let core: ConsumerCore
  private let lastError = Mutex<String?>(nil)

  init(core: ConsumerCore) { self.core = core }

  // MARK: SupervisedStream

  var isOver: Bool { core.isOver }

  func streamEnded(_ error: SkeinError?) -> StreamContinuation {
    lastError.withLock { $0 = error?.reason }
    return core.streamEnded(error)
  }

  func gaveUp(_ error: SkeinError) { core.fail(error) }

  /// Who must stay away for a while (G22) has not lost the broker.
  var isQuarantined: Bool { lastError.withLock { $0 } == Reason.memberQuarantined.name }

  // MARK: StreamDelegate, on the loop

  func started(_ stream: StreamSession) {
    guard let eventLoop = stream.eventLoop else { return }
    core.streamOpened(
      .init(
        send: { request in eventLoop.execute { stream.send(OutboundMessage(head: request.encoded())) } },
        sendEnd: { eventLoop.execute { stream.sendEnd() } },
        cancel: { eventLoop.execute { stream.cancel(nil) } }))
    if core.isOver { stream.cancel(nil) }
  }

  func received(_ message: SharedBytes, on stream: StreamSession) throws(SkeinError) {
    let response: SubscribeResponse
    do {
      response = try SubscribeResponse(decoding: message, limits: .reply)
    } catch { throw SkeinError(error) }
    try core.update { (machine, now) throws(SkeinError) in
      guard machine.heard(now: now) else { return }
      if let joined = response.joined { machine.joined(joined, now: now) }
      if let assignment = response.assignment { machine.assigned(assignment, now: now) }
      if let read = response.read {
        try machine.arrived(read, bytes: response.batches.joined, now: now)
      }
      if let failure = response.error {
        machine.failed(
          ConsumedPartition(failure.topic, failure.partition), Self.error(failure), now: now)
      }
      if let results = response.committed { machine.committed(results, now: now) }
      if let beat = response.heartbeat { machine.told(beat.lag) }
      if response.goAway != nil { machine.drain(now: now) }
    }
    if response.joined != nil { core.settleOpening(.success(())) }
  }

  private static func error(_ failure: PartitionError) -> SkeinError {
    var error = failure.error.map { SkeinError(Fault($0)) } ?? SkeinError(.internalError, "no reason")
    error.metadata["topic"] = error.metadata["topic"] ?? failure.topic
    error.metadata["partition"] = error.metadata["partition"] ?? String(failure.partition)
    return error
  }

  func writable(_ stream: StreamSession) {}
  func readIdle(_ stream: StreamSession) {}

  /// The machine's own heartbeats say more.
  func heartbeat(now: Int64) -> OutboundMessage? { nil }
}
