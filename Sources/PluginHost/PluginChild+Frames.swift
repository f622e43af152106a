import CSkeinPlugin
import Logging
import PluginABI
import PluginPackage
import SkeinCore

/// What a child says. Nothing of it is believed beyond its own calls: a frame that is out of place ends the child.
extension PluginChild {
  /// Frames between two looks, besides answers.
  private static let frameLimit = 20_000

  func received(
    _ header: ChildFrame.Header, _ payload: UnsafeRawBufferPointer, from running: RunningChild
  ) throws(ChildFrame.Malformed) {
    guard running === self.running, !running.isBuried else { return }
    switch header.kind {
    case .placed: try placed(header, payload)
    case .completed: try completed(header, payload, running)
    case .malformed:
      guard let call = take(header.call), case .place(_, _, let answer) = call.waiting else {
        throw ChildFrame.Malformed("an answer to a call that was not made")
      }
      answer.give(.failure(.unavailable("it has no such instance", retryAfterMilliseconds: 100)))
    case .helloed, .loaded, .refused: try greeted(header, payload, running)
    case .created, .destroyed, .pong: try controlled(header, payload, running)
    case .log:
      try count(running)
      try logged(try ChildMessages.log(payload, instance: header.instance), running)
    case .hello, .create, .destroy, .quiesce, .place, .step, .end, .store, .cancel, .ping:
      throw ChildFrame.Malformed("a frame of kind \(header.kind)")
    }
  }

  private func count(_ running: RunningChild) throws(ChildFrame.Malformed) {
    running.frames += 1
    guard running.frames <= Self.frameLimit else {
      throw ChildFrame.Malformed("more than \(Self.frameLimit) frames that nobody asked for, within a second")
    }
  }

  private func greeted(
    _ header: ChildFrame.Header, _ payload: UnsafeRawBufferPointer, _ running: RunningChild
  ) throws(ChildFrame.Malformed) {
    switch header.kind {
    case .helloed where !running.isHelloed:
      running.landlock = try ChildHelloed(parsing: payload).landlock
      running.isHelloed = true
      running.helloedAt = PluginClock.now
    case .loaded where running.isHelloed && !running.isLoaded:
      var reader = FrameReader(payload)
      _ = try reader.take(UInt32.self)
      try reader.end()
      loaded(running)
    case .refused where running.isHelloed && !running.isLoaded:
      var reader = FrameReader(payload)
      running.refusal = try ChildMessages.refusal(&reader)
    default: throw ChildFrame.Malformed("\(header.kind) at the wrong time")
    }
  }

  private func controlled(
    _ header: ChildFrame.Header, _ payload: UnsafeRawBufferPointer, _ running: RunningChild
  ) throws(ChildFrame.Malformed) {
    guard let call = take(header.call) else {
      throw ChildFrame.Malformed("\(header.kind) that was not asked for")
    }
    switch (header.kind, call.waiting) {
    case (.created, .create): created(call.instance, try ChildMessages.created(payload))
    case (.destroyed, .destroy): destroyed(call.instance)
    case (.pong, .ping):
      running.isPinged = false
      ponged(try ChildPong(parsing: payload), running)
    default: throw ChildFrame.Malformed("\(header.kind) for another kind of call")
    }
  }

  private func placed(
    _ header: ChildFrame.Header, _ payload: UnsafeRawBufferPointer
  ) throws(ChildFrame.Malformed) {
    guard let call = take(header.call), case .place(let partitions, let count, let answer) = call.waiting
    else {
      throw ChildFrame.Malformed("an answer to a call that was not made")
    }
    guard payload.count == count * 4 else {
      answer.give(.failure(.fault(.malformed, "\(payload.count) bytes for \(count) records")))
      throw ChildFrame.Malformed("an answer of \(payload.count) bytes for \(count) records")
    }
    let answers = [Int32](unsafeUninitializedCapacity: count) { buffer, filled in
      UnsafeMutableRawBufferPointer(buffer).copyMemory(from: payload)
      filled = count
    }
    let wrong = answers.withUnsafeBufferPointer { PlacementColumns.outOfRange($0, partitions: partitions) }
    guard wrong == 0 else {
      let why = "\(wrong) of \(count) answers lie outside 0..<\(partitions)"
      record.fault(.outOfRange, why, usedBy: instances[call.instance]?.usedBy ?? "")
      return answer.give(.failure(.fault(.outOfRange, why)))
    }
    breaker.succeeded()
    answer.give(.success(answers))
  }

  private func completed(
    _ header: ChildFrame.Header, _ payload: UnsafeRawBufferPointer, _ running: RunningChild
  ) throws(ChildFrame.Malformed) {
    var reader = FrameReader(payload)
    let status = try reader.take(Int32.self)
    let result = try reader.slice(reader.remaining)
    guard let call = take(header.call) else {
      try count(running)
      guard abandoned.remove(header.call) != nil else {
        // The child's own table keeps doubles back: a frame like this one comes from a child that is not ours any more.
        throw ChildFrame.Malformed("a completion of a call that is not open")
      }
      record.change { $0.status.lateCompletions &+= 1 }
      return record.fault(.lateCompletion, "a completion came after its deadline; it was ignored")
    }
    switch call.waiting {
    case .bytes(let answer):
      if status == SKEIN_OK {
        breaker.succeeded()
        answer.give(.success(Array(result)))
      } else {
        // A refusal is an answer.
        if status == SKEIN_DENIED || status == SKEIN_RETRY_LATER { breaker.succeeded() }
        answer.give(.failure(.status(status)))
      }
    case .quiesce: quiesced(call.instance)
    case .place, .create, .destroy, .ping: throw ChildFrame.Malformed("a completion of a call that has none")
    }
  }

  private func ponged(_ pong: ChildPong, _ running: RunningChild) {
    let before = running.counts
    running.counts = pong.calls
    record.change { state in
      state.samples = pong.samples
      state.status.droppedLogLines = pong.droppedLines
      state.status.doubleCompletions &+= pong.calls.double &- min(before.double, pong.calls.double)
    }
    if pong.calls.double > before.double {
      record.fault(.doubleCompletion, "a call was completed twice; the second was ignored")
    }
    if pong.calls.unknown > before.unknown {
      record.fault(.doubleCompletion, "a call that never was was completed; it was ignored")
    }
    if pong.calls.badStatus > before.badStatus {
      record.fault(.badStatus, "a completion had a status that the ABI does not know")
    }
    if pong.calls.tooLong > before.tooLong {
      record.fault(.malformed, "a result had more than \(CallTable.resultLimit) bytes")
    }
  }

  private func logged(_ line: LogRing.Line, _ running: RunningChild) throws(ChildFrame.Malformed) {
    let second = PluginClock.now / 1_000_000_000
    if running.logSecond != second {
      running.logSecond = second
      running.logLines = 0
    }
    running.logLines += 1
    guard running.logLines <= LogRing.linesPerSecond else { return }
    PluginLog.write(
      line, from: manifest.reference, usedBy: instances[UInt32(line.instance)]?.usedBy, to: logger)
  }
}
