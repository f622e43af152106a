import SkeinCore

extension Admin {
  /// Repeats a call that only reads, while its failure is worth another try, for at most `unreachableTimeout`: what
  /// producers and readers ask about their topics must outlast a broker's restart as their streams do.
  func patiently<Result>(
    _ call: () async throws(SkeinError) -> Result
  ) async throws(SkeinError) -> Result {
    let clock = SystemClock()
    let deadline = clock.monotonicNanoseconds
      .addingReportingOverflow(client.configuration.unreachableTimeout.nanosecondsClamped).partialValue
    var backoff = Backoff()
    while true {
      do throws(SkeinError) { return try await call() } catch {
        let wait = max(backoff.next(SystemRandom()), error.retryAfter?.nanosecondsClamped ?? 0)
        guard error.isRetriable, !Task.isCancelled, clock.monotonicNanoseconds + wait < deadline else {
          throw error
        }
        try? await Task.sleep(nanoseconds: UInt64(wait))
      }
    }
  }
}
