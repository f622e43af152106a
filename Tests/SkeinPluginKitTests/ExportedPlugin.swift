import CSkeinPlugin
import Synchronization
import Testing

@testable import SkeinPluginKit

/// The plug-in of these tests: one of each kind, as `skein_plugin_entry` would return it. `@unchecked Sendable`: C
/// tables that are written once.
struct ExportedPlugin: @unchecked Sendable {
  let plugin: UnsafePointer<skein_plugin>

  static let shared = ExportedPlugin()

  private init() {
    let exported = Plugin.export(
      FakeHost().table, "org.skein.test", "1.2.0",
      .partitioner(TablePartitioner.self), .offsetStore(ScriptedStore.self),
      .authenticator(ScriptedAuthenticator.self))
    guard let exported else { fatalError("export returned nothing") }
    plugin = exported
  }

  func table<Table>(_ id: String, _ type: Table.Type) throws -> Table {
    try #require(plugin.pointee.get(id)).load(as: Table.self)
  }

  /// `create` with a configuration; the status and `why` when it is refused.
  static func create(
    _ ops: skein_instance_ops, _ host: FakeHost, config: String = "{}"
  ) -> (status: skein_status, instance: UnsafeMutableRawPointer?, why: String) {
    var instance: UnsafeMutableRawPointer?
    var why = skein_bytes()
    let status = lend(config) { ops.create(host.table, 7, $0, &instance, &why) }
    return (status, instance, why.text)
  }
}

/// Answers from the configuration and from what it is shown, so that a test sees that everything arrives.
struct TablePartitioner: Partitioner {
  struct Config: Decodable {
    var answer: Int32
    var pool: Pool?
    struct Pool: Decodable { var size: Int }
  }

  static let isPure = false
  let config: Config
  let seen: PluginMetrics.Counter

  init(_ context: PluginContext) throws {
    config = try context.config(Config.self)
    if config.answer < 0 { throw PluginError.badConfig("answer is \(config.answer): give 0 or more") }
    seen = context.metrics.counter("seen", unit: .bytes)
    context.log.warning("made")
  }

  func partition(_ record: Record, of topic: TopicView) -> Int32 {
    guard let key = record.key else { return .anyPartition }
    seen.add(Double(key.count))
    var answer = config.answer + Int32(key.count)
    answer += Int32(record.header(0)?.count ?? 0) * 10 + Int32(record.header(1)?.count ?? 0) * 100
    answer += Int32(record.timestamp ?? 0) * 1_000
    answer += Int32(topic.weights?[1] ?? 0) * 10_000
    return answer
  }
}

/// What a scripted plug-in does with its next calls.
enum Script: String {
  case answer, deny, retry, fail, cancelled, waitForCancel, largeResult, nulByte
}

final class ScriptedStore: OffsetStore {
  static let seen = Mutex<[String]>([])

  init(_ context: PluginContext) throws {}

  /// The group's name says what to do.
  private func act(_ group: String, _ call: PluginCall) async throws {
    switch Script(rawValue: group) {
    case .deny: throw PluginError.denied("stale")
    case .retry: throw PluginError.retryLater("busy")
    case .fail: throw Surprise()
    case .cancelled: throw CancellationError()
    case .waitForCancel: try await Task.sleep(for: .seconds(3_600))
    default: break
    }
  }

  func commit(_ request: CommitOffsets, _ call: PluginCall) async throws {
    Self.seen.withLock { $0.append("\(request)") }
    try await act(request.group, call)
  }
  func fetch(_ request: FetchOffsets, _ call: PluginCall) async throws -> OffsetPage {
    try await act(request.group, call)
    let size = request.group == Script.largeResult.rawValue ? 1 << 20 : 3
    let token = request.group == Script.nulByte.rawValue ? "a\0b" : String(repeating: "t", count: size)
    return OffsetPage(
      groups: [
        GroupOffsets(
          group: request.group,
          offsets: request.partitions.map {
            StoredOffset(
              topicID: $0.topicID, partition: $0.partition, offset: 1 << 40, leaderEpoch: 5, metadata: "m",
              committedMilliseconds: 99, memberEpoch: 6)
          }), GroupOffsets(group: "", offsets: []),
      ], token: token)
  }
  func scan(_ request: ScanOffsets, _ call: PluginCall) async throws -> OffsetPage {
    OffsetPage(groups: [], token: "\(request.tenant) \(request.token) \(request.limit)")
  }
  func remove(_ request: RemoveOffsets, _ call: PluginCall) async throws {
    guard call.remaining > .zero, call.remaining < .seconds(3_700) else {
      throw PluginError.failed("deadline")
    }
    try await act(request.group, call)
  }
}

struct Surprise: Error {}

final class ScriptedAuthenticator: Authenticator {
  static let ended = Mutex<[UInt64]>([])

  init(_ context: PluginContext) throws {
    guard context.lookup("secret") == Array("s3cret".utf8) else { throw PluginError.badConfig("no secret") }
  }

  func step(_ step: AuthenticationStep, _ call: PluginCall) async throws -> AuthenticationAnswer {
    switch Script(rawValue: String(decoding: step.message, as: UTF8.self)) {
    case .deny: throw PluginError.denied("no")
    case .nulByte: return .principal(Principal(name: "admin\0guest"))
    case .fail: return .principal(Principal(name: ""))
    case .answer:
      return .principal(
        Principal(
          name: "\(step.peer.certificates.count)-\(step.peer.serverName)", tenant: step.peer.address,
          groups: [step.mechanism, "\(step.peer.tlsExporter.count)"], expiresMilliseconds: 77))
    default: return .challenge([1, 2, 3])
    }
  }

  func end(_ exchange: UInt64) { Self.ended.withLock { $0.append(exchange) } }
}
