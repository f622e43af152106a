import DiskIO
import Logging
import SkeinCore
import Synchronization
import Transport

/// Brings certificates, keys, client authorities and revocation lists of changed files into force, all of them
/// or none: a file that is bad, or half written, leaves the old ones and is told in the log, once.
///
/// Threading: any; two looks at once do the work twice, which does no harm.
final class CertificateWatch: Sendable {
  private struct State {
    /// Of the files in force. Differs from what is there until a load has gone well.
    var loaded: [FileStamp?]
    var lastProblem: String?
  }

  private let tls: ServerTLS
  private let server: GRPCServer
  private let logger: Logger
  private let state: Mutex<State>

  init(tls: ServerTLS, server: GRPCServer, logger: Logger) {
    self.tls = tls
    self.server = server
    self.logger = logger
    state = Mutex(State(loaded: tls.files.map { FileStamp($0) }))
  }

  /// Loads the files if one of them has changed, or in any case (SIGHUP). Reads files: not on an event loop.
  func look(force: Bool) {
    // Taken before the files are read: what changes meanwhile is seen at the next look.
    let now = tls.files.map { FileStamp($0) }
    guard force || state.withLock({ $0.loaded != now }) else { return }
    do throws(TLSConfigurationError) {
      try server.reload(tls)
      state.withLock { $0 = State(loaded: now) }
      logger.info("certificates reloaded", metadata: ["files": "\(tls.files.joined(separator: ", "))"])
    } catch {
      let isNew = state.withLock { state in
        defer { state.lastProblem = error.description }
        return state.lastProblem != error.description
      }
      guard isNew || force else { return }
      logger.error(
        "certificates not reloaded; those before stay in force", metadata: ["why": "\(error.description)"])
    }
  }
}
