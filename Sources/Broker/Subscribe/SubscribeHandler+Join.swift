import GroupCoordination
import SkeinCore
import Wire

/// The beginning of a membership, or of another stream of one.
extension SubscribeHandler {
  func begin(_ join: SubscribeJoin) throws(Fault) {
    let membership = try Membership(join, principal: principal, context: context)
    if membership.resume == nil, let moving = context.groupOffsets.refusal(of: membership.key) {
      throw moving
    }
    self.membership = membership
    phase = .joining
    pump = PartitionPump(
      context: context, eventLoop: eventLoop, messageBytes: membership.messageBytes, owner: self)
    let session = context.groups.attach(self, to: membership.key)
    self.session = session
    guard let resume = membership.resume else {
      return ask(.join(membership.request, session))
    }
    // The full list comes first on a new stream (G6). The coordinator answers it with the whole assignment.
    var heartbeat = GroupCoordination.Heartbeat(
      group: membership.key, memberID: membership.id, epoch: resume.epoch)
    heartbeat.owned = Set(resume.positions.keys)
    heartbeat.progress = .working
    ask(.heartbeat(heartbeat, session))
  }

  private func ask(_ request: GroupRequest) {
    guard let membership else { return }
    context.groups.ask(request, of: membership.key, on: eventLoop) { result in
      guard case .joining = self.phase else { return }
      switch result {
      case .success: self.joined(membership)
      case .failure(let fault): self.end(with: fault)
      }
    }
  }

  private func joined(_ membership: Membership) {
    isJoined = true
    send(
      SubscribeResponse(
        joined: SubscribeJoined(
          memberID: membership.id, limits: Limits(context.limits), heartbeatMs: times.heartbeat,
          sessionMs: times.session, reconnectGraceMs: times.reconnectGrace,
          processingMs: membership.processingMilliseconds,
          offsetStore: context.groupOffsets.storeName(of: membership.key, inLog: 0))))
  }
}
