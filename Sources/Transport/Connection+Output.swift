import NIOCore
import SkeinCore

/// Output: frames into TLS records into the socket, once per tick of the loop.
extension Connection {
  /// Room that must be left in the output region before nghttp2 is asked for more: one DATA frame of
  /// 16 KiB, what is staged before it, and the expansion of both.
  private static let minimumRoom = 3 * LoopScratch.recordBytes
  /// Buffers filled in a row before other connections of the loop get their turn.
  private static let buffersPerTurn = 4
  /// Outputs up to this size are copied into a buffer of their own, so that the loop's stays free.
  private static let smallOutput = 4096

  /// Something is to be sent: at the end of the current read, or of the loop's tick.
  func setNeedsPump() {
    needsPump = true
    guard !isReading, !isPumping, !pumpIsScheduled else { return }
    schedulePump()
  }

  private func schedulePump() {
    guard !pumpIsScheduled else { return }
    pumpIsScheduled = true
    eventLoop.execute {
      self.pumpIsScheduled = false
      self.pump()
    }
  }

  /// Sends what there is as far as the socket takes it.
  func pump() {
    guard !isPumping else { return }
    isPumping = true
    defer { isPumping = false }
    flushOverflow()
    guard phase == .open, let context else { return }
    var turns = 0
    repeat {
      needsPump = false
      while context.channel.isWritable, phase == .open, produce() {
        turns += 1
        if turns == Self.buffersPerTurn { return schedulePump() }
      }
      relieve()
    } while needsPump && context.channel.isWritable && phase == .open
    if tls.writeFailed {
      fail(.protocolError, "TLS write failed")
    } else if phase == .open, let session, !session.wantsRead, !session.wantsWrite {
      shutDown(isRefused ? nil : "the session has ended")
    }
  }

  /// The last frames, whatever the state of the socket; the session is terminated, so they are few.
  func drainOutput() {
    isPumping = true
    _ = produce()
    isPumping = false
  }

  /// Fills one buffer and hands it to the socket. False when there was nothing to send.
  private func produce() -> Bool {
    guard let session, let context else { return false }
    let size = LoopScratch.outputBytes
    scratch.output.clear(minimumCapacity: size)
    let count = scratch.output.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { region in
      tls.withOutput(region) {
        while tls.outputRoom > Self.minimumRoom {
          let (bytes, failed) = session.send()
          if failed { fail(.protocolError, "HTTP/2: out of memory while sending") }
          guard let bytes else {
            // Nothing more, or a pause of `sendData` because the region is nearly full.
            break
          }
          tls.write(bytes)
        }
        tls.flush()
      }
    }
    guard count > 0 else {
      flushOverflow()
      return false
    }
    if count <= Self.smallOutput {
      var small = context.channel.allocator.buffer(capacity: count)
      small.writeImmutableBuffer(scratch.output)
      context.writeAndFlush(wrapOutboundOut(small), promise: nil)
    } else {
      context.writeAndFlush(wrapOutboundOut(scratch.output), promise: nil)
    }
    flushOverflow()
    return true
  }

  /// nghttp2 wants this DATA frame sent now: its header and the call's next bytes.
  func sendData(_ stream: Int32, _ frameHeader: UnsafeRawBufferPointer, _ count: Int) -> Bool {
    tls.write(frameHeader)
    session?.call(stream)?.transmit(count, to: tls)
    return tls.outputRoom > Self.minimumRoom
  }

  /// Handshake messages and alerts, which libssl makes while we read.
  func flushOverflow() {
    guard let context else { return }
    tls.takeOverflow { bytes in
      var buffer = context.channel.allocator.buffer(capacity: bytes.count)
      buffer.writeBytes(bytes)
      context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }
  }

  // MARK: Writability of calls

  /// The call's queue fell below its low-water mark.
  func relieved(_ call: Call) { relievedCalls.append(call) }

  private func relieve() {
    guard !relievedCalls.isEmpty else { return }
    let calls = relievedCalls
    relievedCalls.removeAll(keepingCapacity: true)
    for call in calls where !call.isClosed { call.handler?.writable() }
  }
}
