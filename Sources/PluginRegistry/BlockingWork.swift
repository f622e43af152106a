import SkeinCore

/// Takes work that blocks (files) to a thread that may; nothing of it runs on the tasks' own threads.
package struct BlockingWork: Sendable {
  private let submit: @Sendable (@escaping @Sendable () -> Void) -> Void

  /// - Parameter submit: runs what it is given, once, somewhere.
  package init(_ submit: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) {
    self.submit = submit
  }

  func run<R: Sendable>(
    _ body: @escaping @Sendable () throws(Fault) -> R
  ) async throws(Fault) -> R {
    let result: Result<R, Fault> = await withCheckedContinuation { continuation in
      submit {
        let result: Result<R, Fault>
        do throws(Fault) { result = .success(try body()) } catch { result = .failure(error) }
        continuation.resume(returning: result)
      }
    }
    return try result.get()
  }
}
