import Foundation
import Logging
import NIOCore
import PluginHost
import PluginPackage
import SkeinCore
import Synchronization
import Transport
import Wire

@testable import Broker

/// Stands in for the plug-in manager: instances that judge by their table, or misbehave.
final class TestAuthenticators: AuthenticatorSource {
  enum Mode: Sendable {
    case good, silent, crashed, nonsense, challenge, forever, badName
  }
  private struct State {
    var mode = Mode.good
    var absent = false
    var configurations: [String] = []
  }
  private let state = Mutex(State())
  let made = Counter()
  let alive = Counter()

  func set(_ mode: Mode) { state.withLock { $0.mode = mode } }
  func set(absent: Bool) { state.withLock { $0.absent = absent } }
  var mode: Mode { state.withLock { $0.mode } }
  var configurations: [String] { state.withLock { $0.configurations } }

  func authenticator(
    _ id: String, config: String, usedBy: String
  ) async throws(Fault) -> any AuthenticatorInstance {
    guard !state.withLock({ $0.absent }) else {
      throw Fault(.pluginNotFound, "\(id) is not installed", metadata: ["plugin": id])
    }
    state.withLock { $0.configurations.append(config) }
    made.add(1)
    return try Instance(config, self)
  }

  private struct Row: Decodable {
    var id, sha256, tenant, principal: String
    var expires_ms: Int64
  }

  final class Instance: AuthenticatorInstance {
    let reference: PluginReference
    private let rows: [String: Row]
    private let owner: TestAuthenticators

    fileprivate init(_ config: String, _ owner: TestAuthenticators) throws(Fault) {
      reference = try PluginReference(parsing: "test.tokens@1.0.0")
      struct Table: Decodable { var tokens: [Row] }
      let table = try? JSONDecoder().decode(Table.self, from: Data(config.utf8))
      rows = Dictionary((table?.tokens ?? []).map { ($0.id, $0) }) { first, _ in first }
      self.owner = owner
      owner.alive.add(1)
    }
    deinit { owner.alive.add(-1) }

    func step(
      exchange: UInt64, mechanism: String, peer: PeerEvidence, message: [UInt8], deadline: NIODeadline,
      on loop: any EventLoop, _ answer: @escaping @Sendable (Result<[UInt8], Fault>) -> Void
    ) {
      switch owner.mode {
      case .silent: return
      case .crashed: return answer(.failure(Fault(.authenticatorUnavailable, "the child died")))
      case .nonsense: return answer(.success([0xff, 0xff, 0xff]))
      case .challenge: return answer(.success(PluginAuthenticateResult(challenge: [1]).encoded()))
      case .badName:
        return answer(.success(PluginAuthenticateResult(principal: "../admin").encoded()))
      case .good, .forever: break
      }
      let parts = String(decoding: message, as: UTF8.self).split(
        separator: "_", omittingEmptySubsequences: false
      ).map(String.init)
      guard parts.count == 3, parts[0] == "skein", let row = rows[parts[1]],
        let hash = CallCredential.sha256(Array(parts[2].utf8)),
        hash.map({ String(format: "%02x", $0) }).joined() == row.sha256
      else { return answer(.failure(Fault(.tokenInvalid, "denied"))) }
      let result = PluginAuthenticateResult(
        tenant: row.tenant, principal: row.principal,
        expiresMs: owner.mode == .forever ? 0 : row.expires_ms)
      answer(.success(result.encoded()))
    }

    func end(exchange: UInt64) {}
  }
}

/// Every line that a broker logs, at every level.
struct LogRecorder: LogHandler {
  final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var text: String { lines.withLock { $0.joined(separator: "\n") } }
  }
  let lines: Lines
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level = .trace

  init(_ lines: Lines) { self.lines = lines }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { lines.add("\(event.level) \(event.message) \(event.metadata ?? [:])") }
}
