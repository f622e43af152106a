import NIOCore
import SkeinCore
import Transport
import Wire

/// One watch on etcd: one stream, whose flow control bounds what is buffered for a slow consumer.
///
/// Whole revisions that are not yet taken keep their flow-control credit, so etcd can send at most the
/// stream's window (and the rest of one message) ahead of the consumer. A revision that comes in parts
/// does not, because it may exceed any window; it is bounded by `MetadataLimits.resultBytes`.
///
/// `@unchecked Sendable`: all state is confined to the connection's event loop.
final class EtcdWatchStream: CallHandler, WatchSource, @unchecked Sendable {
  private typealias Waiter = CheckedContinuation<Result<[WatchUpdate]?, MetadataError>, Never>

  private let request: WatchRequest
  private let eventLoop: any EventLoop
  private var call: Call?
  private let creation: EventLoopPromise<Void>
  private let timeout: TimeAmount
  private var creationTimer: Scheduled<Void>?

  /// Whole revisions, not yet taken.
  private var ready: [WatchUpdate] = []
  /// The newest revision received, of which a fragmented answer may bring more.
  private var open: WatchUpdate?
  /// The newest revision put to `ready`: etcd has been seen to repeat older ones (B21).
  private var last = Revision.zero
  /// Credit of what has come since `ready` was last empty.
  private var held = 0
  /// Bytes of the answers that `open` is gathered from.
  private var openBytes = 0
  private var waiter: Waiter?
  /// How the watch ended; nil in it: by our own side.
  private var ending: Result<[WatchUpdate]?, MetadataError>?

  init(_ request: WatchRequest, eventLoop: any EventLoop, timeout: TimeAmount) {
    self.request = request
    self.eventLoop = eventLoop
    self.timeout = timeout
    creation = eventLoop.makePromise()
  }

  /// On the loop, when the call is opened.
  func start(_ call: Call) {
    self.call = call
    let create = EtcdWatchCreateRequest(
      key: request.keys.start, rangeEnd: request.keys.etcdEnd,
      startRevision: max(0, request.from.rawValue), prevKv: request.previous, fragment: true)
    let message = EtcdWatchRequest(requestUnion: .createRequest(create))
    call.send(OutboundMessage(head: message.encoded()))
    creationTimer = eventLoop.scheduleTask(in: timeout) {
      self.finish(.failure(MetadataError(.unavailable, "etcd did not set up the watch in time")))
    }
  }

  /// Waits until etcd has set up the watch: from then on it misses nothing.
  func created() async throws(MetadataError) {
    do {
      try await creation.futureResult.get()
    } catch {
      throw error as? MetadataError ?? MetadataError(.unavailable, "etcd's watch failed: \(error)")
    }
  }

  // MARK: WatchSource

  func next() async throws(MetadataError) -> [WatchUpdate]? {
    let answer: Result<[WatchUpdate]?, MetadataError> = await withTaskCancellationHandler {
      await withCheckedContinuation { (waiter: Waiter) in
        eventLoop.execute { self.serve(waiter) }
      }
    } onCancel: {
      end()
    }
    return try answer.get()
  }

  func end() {
    eventLoop.execute { self.finish(.success(nil)) }
  }

  private func serve(_ waiter: Waiter) {
    // A second consumer at the same time would be our own bug; it takes the place of the first.
    self.waiter?.resume(returning: .success(nil))
    self.waiter = waiter
    deliver()
  }

  private func deliver() {
    guard let waiter else { return }
    if !ready.isEmpty {
      self.waiter = nil
      let updates = ready
      ready = []
      waiter.resume(returning: .success(updates))
      releaseCredit()
    } else if let ending {
      self.waiter = nil
      waiter.resume(returning: ending)
    }
  }

  private func finish(_ how: Result<[WatchUpdate]?, MetadataError>) {
    guard ending == nil else { return }
    ending = how
    creationTimer?.cancel()
    if case .failure(let error) = how {
      creation.fail(error)
    } else {
      creation.fail(MetadataError.closed)
      ready = []
    }
    call?.cancel()
    call = nil
    deliver()
  }

  // MARK: CallHandler

  func received(_ message: SharedBytes) {
    let answer: EtcdWatchResponse
    do throws(Fault) {
      answer = try EtcdWatchResponse(decoding: message, limits: .reply)
    } catch {
      return finish(
        .failure(MetadataError(.unreadable, "etcd's watch answer cannot be read: \(error.message)")))
    }
    held += message.count
    append(answer.events)
    if !answer.fragment { closeRevision() }
    if answer.canceled { return finish(.failure(Self.cancellation(answer))) }
    if answer.created {
      creationTimer?.cancel()
      creation.succeed()
    }
    openBytes = open == nil ? 0 : openBytes + message.count
    guard openBytes <= MetadataLimits.resultBytes else {
      let limit = MetadataLimits.resultBytes
      return finish(.failure(MetadataError(.resultTooLarge, "one revision exceeds \(limit) bytes")))
    }
    if ready.isEmpty { releaseCredit() }
    deliver()
  }

  private func releaseCredit() {
    call?.release(held)
    held = 0
  }

  /// The status of a call that etcd or the connection ended.
  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    call = nil
    finish(.failure(MetadataError(status, .read)))
  }

  private func append(_ events: [EtcdEvent]) {
    for event in events.compactMap(WatchEvent.init) {
      let revision = event.keyValue.modRevision
      if open?.revision != revision { closeRevision() }
      guard revision > last else { continue }
      if open == nil { open = WatchUpdate(revision: revision, events: []) }
      open?.events.append(event)
    }
  }

  private func closeRevision() {
    guard let update = open else { return }
    open = nil
    last = update.revision
    ready.append(update)
  }

  private static func cancellation(_ answer: EtcdWatchResponse) -> MetadataError {
    if answer.compactRevision > 0 { return .compacted(at: Revision(answer.compactRevision)) }
    return MetadataError(.refused, "etcd cancelled the watch: \(answer.cancelReason)")
  }
}
