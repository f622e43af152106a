import GroupCoordination
import NIOCore
import SkeinCore
import Transport
import Wire

/// How a stream ends: the member leaves, the broker goes, the membership is over, or it breaks. `lost` is told once,
/// in all of these.
extension SubscribeHandler {
  /// How long a leave waits for commits that are not answered.
  static let leavePatience = TimeAmount.seconds(5)

  func leave(_ leave: MemberLeave) {
    guard let membership, case .member = phase else { return }
    self.leave = LeaveRequest(
      group: membership.key, memberID: membership.id, isTemporary: leave.temporary)
    phase = .leaving
    (heldRelease, nextHeartbeat) = (nil, nil)
    deadline = eventLoop.scheduleTask(in: Self.leavePatience) { [weak self] in self?.sendLeave() }
    settle()
  }

  /// Everything is committed, or cannot be.
  func sendLeave() {
    guard let leave else { return }
    self.leave = nil
    context.groups.ask(.leave(leave), of: leave.group, on: eventLoop) { result in
      switch result {
      case .success: self.end(.ok)
      case .failure(let fault): self.end(with: fault)
      }
    }
  }

  /// The broker stops, or the stream or its credential is too old: what was asked is answered, then the member comes
  /// again, with `resume`.
  func goAway(deadlineMilliseconds: Int64) {
    switch phase {
    case .closed, .draining, .leaving: return
    case .waiting, .joining, .member: break
    }
    send(
      SubscribeResponse(
        goAway: GoAway(reason: "draining", resume: true, deadlineMs: deadlineMilliseconds)))
    guard case .member = phase else { return end(.ok) }
    phase = .draining
    (heldRelease, nextHeartbeat) = (nil, nil)
    deadline = eventLoop.scheduleTask(in: .milliseconds(deadlineMilliseconds / 2)) { [weak self] in
      self?.end(.ok)
    }
    settle()
  }

  func end(with fault: Fault) { end(GRPCStatus(fault)) }

  func end(_ status: GRPCStatus) {
    if case .closed = phase { return }
    stop()
    call.finish(status)
  }

  /// The stream is over; the member, if it was not removed and has not left, has the grace to come back.
  func stop() {
    if case .closed = phase { return }
    phase = .closed
    for timer in [startRetry, fenceCheck, ackTimer, ticker, deadline] { timer?.cancel() }
    commitRest()
    for partition in partitions.values { pump?.end(partition.cursor) }
    pump?.stop()
    partitions = [:]
    parked = []
    (heldRelease, nextHeartbeat) = (nil, nil)
    leave = nil
    context.metrics.subscribeStreams.add(-1)
    context.streams.remove(self)
    if let session, let membership { context.groups.lost(session, of: membership.key) }
    session = nil
  }

  /// What was acknowledged on a stream that broke is committed, if the membership still stands.
  private func commitRest() {
    guard let membership, isJoined, !dirty.isEmpty else { return }
    let offsets = takeAcks()
    guard !offsets.isEmpty else { return }
    let request = GroupCoordination.CommitRequest(
      group: membership.key, member: (membership.id, epoch), offsets: offsets)
    context.groupOffsets.commit(request, on: eventLoop) { _ in }
  }
}
