/// A wait that can be ended early from any thread.
final class Pause: Sendable {
  private let stream: AsyncStream<Void>
  private let continuation: AsyncStream<Void>.Continuation

  init() { (stream, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1)) }

  /// Ends this and every later wait.
  func cancel() { continuation.finish() }

  /// True when the time passed, false when it was cancelled.
  func wait(milliseconds: Int64) async -> Bool {
    await withTaskGroup(of: Bool.self) { group in
      group.addTask {
        (try? await Task.sleep(for: .milliseconds(milliseconds), clock: .continuous)) != nil
      }
      group.addTask { [stream] in
        for await _ in stream {}
        return false
      }
      let passed = await group.next() ?? false
      group.cancelAll()
      return passed
    }
  }
}
