package import NIOCore
package import SkeinCore

extension GRPCConnection {
  /// One request, one response. Any task; cancelling the task resets the stream with CANCEL.
  ///
  /// - Parameter compresses: send the request with gzip.
  /// - Throws: `RPCFailure` for every status but OK, and when the answer is not exactly one message.
  package func unary(
    path: String, message: OutboundMessage, metadata: Metadata = Metadata(), deadline: NIODeadline? = nil,
    compresses: Bool = false
  ) async throws -> SharedBytes {
    let box = CallBox()
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let call = open(path: path, metadata: metadata, deadline: deadline) { call in
          if compresses { call.compressWithGzip() }
          return UnaryHandler(call: call, message: message) { continuation.resume(with: $0) }
        }
        box.put(call)
      }
    } onCancel: {
      box.cancel()
    }
  }
}

/// Collects the one message of a unary answer. Confined to the loop.
final class UnaryHandler: CallHandler {
  private unowned let call: Call
  private let done: (Result<SharedBytes, any Error>) -> Void
  private var answer: SharedBytes?
  private var count = 0

  init(call: Call, message: OutboundMessage, done: @escaping (Result<SharedBytes, any Error>) -> Void) {
    self.call = call
    self.done = done
    call.send(message)
    call.sendEnd()
  }

  func received(_ message: SharedBytes) {
    count += 1
    answer = message
    call.release(message.count)
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    guard status.code == .ok else { return done(.failure(RPCFailure(status, trailers: trailers))) }
    guard count == 1, let answer else {
      let status = GRPCStatus(.internal, "a unary call was answered with \(count) messages")
      return done(.failure(RPCFailure(status, trailers: trailers)))
    }
    done(.success(answer))
  }
}
