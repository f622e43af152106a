import NIOCore
import SkeinCore
import Synchronization
import Transport
import Wire

/// One Cluster/Watch. Confined to the connection's loop.
///
/// It holds how far its watcher is and nothing else: messages are made only while the connection takes
/// data, so a slow watcher costs a number, and one that fell behind the feed's ring begins again with a
/// snapshot.
///
/// `@unchecked Sendable`: state is touched on `eventLoop` only.
final class ClusterWatchHandler: CallHandler, DrainableStream, @unchecked Sendable {
  static let topicsPerMessage = 500

  private enum Position {
    case waiting
    /// Pages of the snapshot that began at `revision`: those behind the name are still to be sent.
    case snapshot(revision: Int64, after: String, isFirst: Bool)
    /// `isSynced`: the watcher knows that it has everything.
    case following(revision: Int64, isSynced: Bool)
    case closed
  }

  private let call: Call
  private let context: BrokerContext
  private let principal: Principal
  private var position = Position.waiting
  private var watcher: Int?
  private var heartbeat: StreamHeartbeat?
  private let isScheduled = Atomic<Bool>(false)
  let eventLoop: any EventLoop

  init(call: Call, context: BrokerContext, principal: Principal) {
    self.call = call
    self.context = context
    self.principal = principal
    self.eventLoop = call.eventLoop
    context.streams.add(self)
  }

  // MARK: From the client

  func received(_ message: SharedBytes) {
    defer { call.release(message.count) }
    do throws(Fault) {
      guard case .waiting = position else {
        throw Fault(.malformedMessage, "Watch takes exactly one message; this stream got more")
      }
      let request = try WatchClusterRequest(decoding: message)
      guard request.fromRevision >= 0 else {
        throw Fault(
          .invalidRequest, "from_revision \(request.fromRevision) is negative; 0 begins with a snapshot",
          violations: [.init(field: "from_revision", description: "at least 0")])
      }
      begin(from: request.fromRevision)
    } catch {
      close(GRPCStatus(error))
    }
  }

  func receivedEnd() {
    guard case .waiting = position else { return }
    close(GRPCStatus(Fault(.malformedMessage, "Watch takes exactly one message; this stream got none")))
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { end() }

  func writable() { pump() }

  func goAway(deadlineMilliseconds: Int64) {
    if case .closed = position { return }
    send(
      WatchClusterResponse(
        goAway: GoAway(reason: "draining", resume: true, deadlineMs: deadlineMilliseconds)))
    close(.ok)
  }

  private func begin(from revision: Int64) {
    let feed = context.feed
    watcher = feed.watch { [weak self] in self?.notify() }
    position =
      revision > 0 && feed.news(after: revision, for: principal.tenant, limit: 1) != nil
      ? .following(revision: revision, isSynced: false)
      : .snapshot(revision: feed.revision, after: "", isFirst: true)
    heartbeat = StreamHeartbeat(on: eventLoop, time: context.time) { [weak self] beat in
      guard let self, self.call.isWritable else { return }
      self.send(WatchClusterResponse(heartbeat: beat))
    }
    pump()
  }

  // MARK: Sending

  /// From any thread; many changes make one turn.
  private func notify() {
    guard !isScheduled.exchange(true, ordering: .acquiringAndReleasing) else { return }
    eventLoop.execute {
      self.isScheduled.store(false, ordering: .releasing)
      self.pump()
    }
  }

  private func pump() {
    while call.isWritable {
      switch position {
      case .waiting, .closed: return
      case .snapshot(let revision, let after, let isFirst):
        sendPage(revision: revision, after: after, isFirst: isFirst)
      case .following(let revision, let isSynced):
        guard sendNews(after: revision, isSynced: isSynced) else { return }
      }
    }
  }

  /// The next page of the snapshot. Topics that change meanwhile come again with the changes behind it.
  private func sendPage(revision: Int64, after: String, isFirst: Bool) {
    let page = context.registry.page(of: principal.tenant, after: after, limit: Self.topicsPerMessage)
    let isLast = page.count < Self.topicsPerMessage
    var response = WatchClusterResponse(
      revision: isLast ? revision : 0, reset: isFirst, synced: isLast, topics: page.map(TopicSummary.init))
    if isFirst { response.status = ClusterStatus(context.feed.status) }
    position =
      isLast
      ? .following(revision: revision, isSynced: true)
      : .snapshot(revision: revision, after: page.last?.name ?? after, isFirst: false)
    send(response)
  }

  /// What changed since; false when there is nothing.
  private func sendNews(after revision: Int64, isSynced: Bool) -> Bool {
    let limit = Self.topicsPerMessage
    guard let news = context.feed.news(after: revision, for: principal.tenant, limit: limit) else {
      position = .snapshot(revision: context.feed.revision, after: "", isFirst: true)
      return true
    }
    position = .following(revision: news.revision, isSynced: isSynced || !news.hasMore)
    let completes = !isSynced && !news.hasMore
    guard completes || !news.topics.isEmpty || news.status != nil else { return news.hasMore }
    var response = WatchClusterResponse(revision: news.revision, synced: completes)
    for change in news.topics {
      do throws(Fault) {
        response.topics.append(
          TopicSummary(try context.registry.topic(change.name, of: principal.tenant)))
      } catch {
        response.deleted.append(DeletedTopic(name: change.name, topicID: change.id.description))
      }
    }
    response.status = news.status.map(ClusterStatus.init)
    send(response)
    return true
  }

  private func send(_ response: WatchClusterResponse) {
    heartbeat?.sent()
    call.send(OutboundMessage(head: response.encoded(), parts: []))
  }

  // MARK: Ending

  private func close(_ status: GRPCStatus) {
    if case .closed = position { return }
    end()
    call.finish(status)
  }

  private func end() {
    if case .closed = position { return }
    position = .closed
    if let watcher { context.feed.unwatch(watcher) }
    heartbeat?.stop()
    context.streams.remove(self)
  }
}

extension ClusterStatus {
  init(_ status: ClusterFeed.Status) {
    self.init(
      phase: BrokerPhase(status.phase), health: HealthStatus(status.severity),
      offlinePartitionCount: Int32(clamping: status.offlinePartitions))
  }
}
