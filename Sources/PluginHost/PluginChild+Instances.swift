import NIOCore
import PluginABI
import PluginPackage
import SkeinCore

/// An instance as its child knows it: enough to make it again.
struct ChildInstance {
  let kind: PluginKind
  let config: String
  let usedBy: String
  /// The process has it.
  var isReady = false
  /// Nobody holds it any more.
  var isEnding = false
  /// Told once, the first time it is made or not.
  var onMade: MadeAnswer?
  var openCalls = 0

  struct MadeAnswer: Sendable {
    let give: @Sendable (Result<UInt32, CallFailure>) -> Void
  }
}

/// Making and ending instances.
extension PluginChild {
  /// Makes an instance, starting the child if needed. Any thread.
  func make(_ kind: PluginKind, config: String, usedBy: String) async -> Result<UInt32, CallFailure> {
    await withCheckedContinuation { continuation in
      loop.execute { [self] in
        if let why = record.quarantined { return continuation.resume(returning: .failure(.quarantined(why))) }
        guard instances.count < configuration.maximumInstances else {
          return continuation.resume(
            returning: .failure(
              .unavailable("it has \(instances.count) instances already", retryAfterMilliseconds: 1_000)))
        }
        let number = newInstance()
        instances[number] = ChildInstance(
          kind: kind, config: config, usedBy: usedBy, onMade: .init { continuation.resume(returning: $0) })
        record.change {
          $0.usedBy[number] = usedBy
          $0.status.instances += 1
        }
        if running?.isLoaded == true { sendCreate(number) } else { ensureStarted() }
      }
    }
  }

  /// The last reference is gone. Any thread.
  func release(_ number: UInt32) {
    loop.execute { [self] in end(number) }
  }

  func sendCreate(_ number: UInt32) {
    guard let instance = instances[number], !instance.isReady else { return }
    let members: [ConfigTable.Member]
    do {
      // Read anew for each process: a secret may have been replaced since.
      members = try ConfigMembers.flatten(instance.config, paths: manifest.paths) {
        (path, limit) throws(Fault) in try ConfigMembers.readSecret(path, limit: limit)
      }
    } catch {
      return failed(number, .refused(check: "config", error.message))
    }
    let create = ChildCreate(
      kind: instance.kind.rawValue, config: Array((instance.config.isEmpty ? "{}" : instance.config).utf8),
      members: members)
    let call = open(.create, number, milliseconds: configuration.controlDeadlineMilliseconds)
    write(create.frame(instance: number, call: call))
  }

  func created(_ number: UInt32, _ result: Result<UInt32, LoadRefusal>) {
    switch result {
    case .success(let flags):
      instances[number]?.isReady = true
      if instances[number]?.isEnding == true { return quiesce(number) }
      let waiting = instances[number]?.onMade
      instances[number]?.onMade = nil
      waiting?.give(.success(number))
      _ = flags
    case .failure(let refusal):
      failed(number, .refused(check: refusal.check.rawValue, refusal.message))
    }
  }

  /// It cannot be made. One that was there before a restart stays, without service: its owner is told with each call.
  private func failed(_ number: UInt32, _ failure: CallFailure) {
    guard let waiting = instances[number]?.onMade else {
      instances[number]?.isReady = false
      if case .refused(_, let why) = failure {
        record.fault(.badStatus, "it could not be made again after a restart: \(why)")
      }
      return
    }
    forget(number)
    waiting.give(.failure(failure))
    leaveIfUnused()
  }

  /// Quiesce where there are asynchronous calls, then destroy, then forget.
  func end(_ number: UInt32) {
    guard let instance = instances[number], !instance.isEnding else { return }
    instances[number]?.isEnding = true
    guard running?.isLoaded == true else {
      // Nothing runs that would know of it.
      if running == nil { forget(number) }
      instance.onMade?.give(.failure(.unavailable("the host is closing", retryAfterMilliseconds: 1_000)))
      instances[number]?.onMade = nil
      return leaveIfUnused()
    }
    if instance.isReady { quiesce(number) }
  }

  private func quiesce(_ number: UInt32) {
    let call = open(.quiesce, number, milliseconds: configuration.controlDeadlineMilliseconds)
    let writer = FrameWriter(.quiesce, instance: number, call: call)
    write(writer.finished)
  }

  func quiesced(_ number: UInt32) {
    let call = open(.destroy, number, milliseconds: configuration.controlDeadlineMilliseconds)
    write(FrameWriter(.destroy, instance: number, call: call).finished)
  }

  func destroyed(_ number: UInt32) {
    forget(number)
    leaveIfUnused()
  }

  func forget(_ number: UInt32) {
    guard instances.removeValue(forKey: number) != nil else { return }
    record.change {
      $0.usedBy[number] = nil
      $0.status.instances -= 1
    }
  }

  func open(_ waiting: ChildCall.Waiting, _ instance: UInt32, milliseconds: Int64) -> UInt64 {
    let deadline = NIODeadline.now() + .milliseconds(milliseconds)
    let call = newCall()
    calls[call] = ChildCall(
      instance: instance, waiting: waiting, deadline: deadline, startedAt: PluginClock.now, bytes: 0)
    watch(deadline)
    return call
  }
}
