import NIOCore
import SkeinCore
import Synchronization
import Transport
import Wire

/// The reader's side of `Consumer/Read`: opens at the positions reached, hands batches to the core,
/// sends credits. Outlives single streams.
///
/// `@unchecked Sendable`: `stream` is touched on the loop of the current stream only; the rest is locked.
final class ReaderStream: SupervisedStream, @unchecked Sendable {
  private let core: ReaderCore
  private let maxMessageBytes: UInt32
  private var stream: StreamSession?
  private let loop = Mutex<(any EventLoop)?>(nil)

  init(core: ReaderCore, maxMessageBytes: Int) {
    self.core = core
    self.maxMessageBytes = UInt32(clamping: maxMessageBytes)
  }

  /// Ends the current stream; the supervisor sees that no other is wanted.
  func close() {
    core.close(nil)
    loop.withLock { $0 }?.execute { self.stream?.cancel(nil) }
  }

  // MARK: SupervisedStream

  var isOver: Bool { core.isOver }

  var isWanted: Bool { core.isWanted }

  func waitUntilWanted() async { await core.waitUntilWanted() }

  func streamEnded(_ error: SkeinError?) -> StreamContinuation {
    loop.withLock { $0 = nil }
    stream = nil
    return core.streamLost() ? .atOnce : .afterBackoff
  }

  func gaveUp(_ error: SkeinError) { core.close(error) }

  // MARK: StreamDelegate, on the loop

  func started(_ stream: StreamSession) {
    self.stream = stream
    guard let eventLoop = stream.eventLoop else { return }
    loop.withLock { $0 = eventLoop }
    let (slots, credit) = core.streamOpened(
      grant: { [weak self] amount in
        guard let self else { return }
        eventLoop.execute { self.grant(amount) }
      },
      restart: { eventLoop.execute { stream.cancel(nil) } })
    // Closed, or everything was paused, between the supervisor's question and now.
    guard !slots.isEmpty, !core.isOver else { return stream.cancel(nil) }
    let open = ReadOpen(
      partitions: slots.map {
        FetchPartition(topic: $0.topic, partition: $0.partition, offset: $0.next, lastEpoch: $0.epoch)
      }, maxMessageBytes: maxMessageBytes)
    stream.send(
      OutboundMessage(head: ReadRequest(open: open, credit: Self.credit(credit)).encoded()))
  }

  func received(_ message: SharedBytes, on stream: StreamSession) throws(SkeinError) {
    let response: ReadResponse
    do {
      response = try ReadResponse(decoding: message, limits: .reply)
    } catch { throw SkeinError(error) }
    if let read = response.read {
      try core.arrived(
        ReaderMachine.Arrival(
          topic: read.topic, partition: read.partition, nextOffset: read.nextOffset,
          leaderEpoch: read.leaderEpoch,
          total: .init(
            records: Int64(clamping: read.totalMessages), bytes: Int64(clamping: read.totalBytes))),
        bytes: response.batches.joined, highWatermark: read.highWatermark)
    }
    if let failure = response.error { try partitionFailed(failure) }
    // The broker ends the stream by itself soon; opening another one at once loses nothing.
    if response.goAway != nil { stream.sendEnd() }
    if core.isOver || !core.isWanted { stream.cancel(nil) }
  }

  private func partitionFailed(_ failure: PartitionError) throws(SkeinError) {
    var error = failure.error.map { SkeinError(Fault($0)) } ?? SkeinError(.internalError, "no reason")
    error.metadata["topic"] = error.metadata["topic"] ?? failure.topic
    error.metadata["partition"] = error.metadata["partition"] ?? String(failure.partition)
    // Worth another try: the whole stream is opened anew, after a back-off, where it stopped.
    if error.isRetriable { throw error }
    core.failed(topic: failure.topic, partition: failure.partition, error)
  }

  func writable(_ stream: StreamSession) {}
  func readIdle(_ stream: StreamSession) {}

  func heartbeat(now: Int64) -> OutboundMessage? {
    let positions = core.positions.map {
      Wire.PartitionOffset(
        topic: $0.topic, partition: $0.partition, offset: $0.next, leaderEpoch: $0.epoch)
    }
    return OutboundMessage(
      head: ReadRequest(heartbeat: Heartbeat(sentMs: now, positions: positions)).encoded())
  }

  private func grant(_ amount: ReaderMachine.Amount) {
    stream?.send(OutboundMessage(head: ReadRequest(credit: Self.credit(amount)).encoded()))
  }

  private static func credit(_ amount: ReaderMachine.Amount) -> ReadCredit {
    ReadCredit(messages: UInt64(amount.records), bytes: UInt64(amount.bytes))
  }
}
