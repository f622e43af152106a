import NIOCore
import PluginABI
import SkeinCore

/// Calls into the plug-in and what comes back.
extension PluginChild {
  /// Sends a finished frame of `place` as a call. Any thread.
  func place(_ frame: [UInt8], _ instance: UInt32, partitions: Int, count: Int, _ answer: PlaceAnswer) {
    onLoop { [self] in
      let deadline = NIODeadline.now() + .milliseconds(configuration.partitionerDeadlineMilliseconds)
      send(frame, instance, .place(partitions: partitions, count: count, answer), deadline)
    }
  }

  /// Sends a finished frame of `step` or `store` as a call. Any thread.
  func ask(_ frame: [UInt8], _ instance: UInt32, deadline: NIODeadline, _ answer: BytesAnswer) {
    onLoop { [self] in send(frame, instance, .bytes(answer), deadline) }
  }

  /// Sends a frame that is not answered. Any thread.
  func tell(_ frame: [UInt8], _ instance: UInt32) {
    onLoop { [self] in
      if instances[instance]?.isReady == true { write(frame) }
    }
  }

  private func onLoop(_ body: @escaping @Sendable () -> Void) {
    if loop.inEventLoop { body() } else { loop.execute(body) }
  }

  private func send(_ frame: [UInt8], _ number: UInt32, _ waiting: ChildCall.Waiting, _ deadline: NIODeadline)
  {
    let now = PluginClock.now
    let call = ChildCall(
      instance: number, waiting: waiting, deadline: deadline, startedAt: now, bytes: frame.count)
    if let refusal = refusal(number, frame.count, now) { return answer(call, refusal) }
    let id = newCall()
    calls[id] = call
    openBytes += frame.count
    instances[number]?.openCalls += 1
    watch(deadline)
    var frame = frame
    ChildFrame.setCall(id, in: &frame)
    write(frame)
  }

  /// Why a call is not even sent.
  private func refusal(_ number: UInt32, _ bytes: Int, _ now: Int64) -> CallFailure? {
    if let why = record.quarantined { return .quarantined(why) }
    guard let instance = instances[number], !instance.isEnding else {
      return .unavailable("this instance has ended", retryAfterMilliseconds: 1_000)
    }
    guard instance.isReady else {
      if case .waiting(let until, _) = process {
        return .unavailable(
          "it is being started again", retryAfterMilliseconds: max(1, (until - now) / 1_000_000))
      }
      return .unavailable("it is being started again", retryAfterMilliseconds: 10)
    }
    guard instance.openCalls < configuration.maximumOpenCalls,
      openBytes + bytes <= configuration.maximumOpenBytes
    else {
      return .unavailable(
        "\(instance.openCalls) calls with \(openBytes) bytes are open, \(configuration.maximumOpenCalls) with \(configuration.maximumOpenBytes) are allowed",
        retryAfterMilliseconds: 10)
    }
    if let wait = breaker.admit(at: now) {
      return .unavailable(
        "it failed \(CircuitBreaker.failuresToOpen) times in a row", retryAfterMilliseconds: wait)
    }
    return nil
  }

  /// Ends a call without an answer of the plug-in.
  func answer(_ call: ChildCall, _ failure: CallFailure) {
    switch call.waiting {
    case .place(_, _, let answer): answer.give(.failure(failure))
    case .bytes(let answer): answer.give(.failure(failure))
    case .create, .quiesce, .destroy, .ping: break
    }
  }

  func take(_ id: UInt64) -> ChildCall? {
    guard let call = calls.removeValue(forKey: id) else { return nil }
    openBytes -= call.bytes
    switch call.waiting {
    case .place, .bytes: instances[call.instance]?.openCalls -= 1
    case .create, .quiesce, .destroy, .ping: break
    }
    return call
  }

  // MARK: Deadlines

  /// Ends what is over its time. A call that must return at once and does not, is a hang: the process ends.
  func expire(at now: NIODeadline) {
    let expired = calls.filter { $0.value.deadline <= now }
    for (id, call) in expired.sorted(by: { $0.key < $1.key }) {
      _ = take(id)
      let took = "\((PluginClock.now - call.startedAt) / 1_000_000) ms"
      switch call.waiting {
      case .place(_, let count, let answer):
        let why = "no answer for \(count) records within \(took)"
        answer.give(.failure(.fault(.hang, why)))
        kill(.hang, why)
      case .bytes(let answer):
        late(id, call, took, answer)
      case .create: kill(.hang, "create took more than \(took)")
      case .quiesce: quiesced(call.instance)
      case .destroy: kill(.hang, "destroy took more than \(took)")
      case .ping: kill(.hang, "it did not answer for \(took)")
      }
    }
  }

  private func late(_ id: UInt64, _ call: ChildCall, _ took: String, _ answer: BytesAnswer) {
    answer.give(.failure(.fault(.deadline, "no answer within \(took)")))
    if abandoned.count < 4_096 { abandoned.insert(id) }
    write(FrameWriter(.cancel, instance: call.instance, call: id).finished)
    breaker.failed(at: PluginClock.now)
    record.fault(.deadline, "no answer within \(took)", usedBy: instances[call.instance]?.usedBy ?? "")
  }

  func ping() {
    guard let running, running.isLoaded, !running.isPinged else { return }
    running.isPinged = true
    let call = open(.ping, 0, milliseconds: configuration.hangLimitMilliseconds)
    write(FrameWriter(.ping, call: call).finished)
  }
}
