import NIOCore
import SkeinCore
import Transport
import Wire

/// Sends one package to Plugins/Install, in pieces, as fast as the connection takes them, and waits for the answer.
///
/// `@unchecked Sendable`: mutable state is confined to the connection's event loop.
final class PackageUpload: CallHandler, @unchecked Sendable {
  /// One message's bytes: the broker takes at most 1 MiB.
  private static let chunkBytes = 256 << 10
  /// For the whole of it, however large: the broker ends silent ones sooner.
  private static let patience = TimeAmount.minutes(30)

  private let package: SharedBytes
  private let sha256: String
  private let verifyOnly: Bool
  private let progress: @Sendable (Int) -> Void
  private var call: Call?
  private var sent = 0
  private var isEnded = false
  private var answer: SharedBytes?
  private var waiting: CheckedContinuation<Result<SharedBytes, SkeinError>, Never>?

  init(
    _ package: SharedBytes, sha256: String, verifyOnly: Bool, progress: @escaping @Sendable (Int) -> Void
  ) {
    self.package = package
    self.sha256 = sha256
    self.verifyOnly = verifyOnly
    self.progress = progress
  }

  /// Cancelling the task cancels the upload.
  func run(on connection: GRPCConnection) async -> Result<SharedBytes, SkeinError> {
    let loop = connection.eventLoop
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        loop.execute {
          self.waiting = continuation
          let call = connection.open(path: PluginsMethod.install, deadline: .now() + Self.patience) { _ in
            self
          }
          self.call = call
          call.send(
            OutboundMessage(
              head: InstallPluginRequest(
                size: UInt64(self.package.count), sha256: self.sha256, verifyOnly: self.verifyOnly
              ).encoded()))
          self.pump()
        }
      }
    } onCancel: {
      loop.execute { self.call?.cancel() }
    }
  }

  private func pump() {
    guard let call, !isEnded else { return }
    while call.isWritable, sent < package.count {
      let end = min(sent + Self.chunkBytes, package.count)
      let (head, payload) = InstallPluginRequest(chunk: package.slice(sent..<end)).encodedParts()
      call.send(OutboundMessage(head: head, parts: payload))
      sent = end
      progress(sent)
    }
    guard sent == package.count else { return }
    isEnded = true
    call.sendEnd()
  }

  func writable() { pump() }

  func received(_ message: SharedBytes) {
    answer = message
    call?.release(message.count)
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) {
    call = nil
    isEnded = true
    let result: Result<SharedBytes, SkeinError>
    if status.code == .ok, let answer {
      result = .success(answer)
    } else {
      result = .failure(
        status.code == .ok
          ? SkeinError(.connectionLost, "the broker ended the install without an answer")
          : SkeinError(status))
    }
    waiting?.resume(returning: result)
    waiting = nil
  }
}
