import CSkeinPlugin
import FoundationEssentials

/// What an instance gets from the host: its configuration, a log, metrics. Any thread.
public struct PluginContext: Sendable {
  let host: Host
  let instance: UInt64
  /// The configuration, one JSON object that fits the manifest's `config_schema`.
  public let configJSON: [UInt8]

  init(host: Host, instance: UInt64, configJSON: [UInt8]) {
    self.host = host
    self.instance = instance
    self.configJSON = configJSON
  }

  /// A context without a host, for tests of a plug-in: nothing is logged or measured, `lookup` finds nothing.
  public init(testing config: String) {
    self.init(host: .absent, instance: 0, configJSON: Array(config.utf8))
  }

  public var log: PluginLog { PluginLog(host: host, instance: instance) }
  public var metrics: PluginMetrics { PluginMetrics(host: host, instance: instance) }

  /// The configuration as a type of yours.
  /// - Throws: `PluginError.badConfig`, which names the field.
  public func config<Config: Decodable>(_ type: Config.Type) throws -> Config {
    do {
      return try JSONDecoder().decode(type, from: Data(configJSON))
    } catch let error as DecodingError {
      throw PluginError.badConfig(Self.sentence(error))
    }
  }

  /// One member of the configuration: a string as its bytes, anything else as JSON text; nil: there is none. `key` may
  /// be a path: "pool.size". A member {"secret_file": "PATH"} gives the bytes of that file: so are secrets read.
  /// Only in `init` of a plug-in.
  public func lookup(_ key: String) -> [UInt8]? {
    host.lookup(instance, key).map { Array($0) }
  }

  private static func sentence(_ error: DecodingError) -> String {
    func path(_ context: DecodingError.Context, _ last: String? = nil) -> String {
      let names = context.codingPath.map(\.stringValue) + (last.map { [$0] } ?? [])
      return names.isEmpty ? "the configuration" : names.joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, let context):
      return "\(path(context, key.stringValue)) is missing: add it to the configuration"
    case .typeMismatch(let type, let context):
      return "\(path(context)) is not a \(type): \(context.debugDescription)"
    case .valueNotFound(let type, let context):
      return "\(path(context)) is null: give a \(type)"
    case .dataCorrupted(let context):
      return "\(path(context)): \(context.debugDescription)"
    @unknown default:
      return "the configuration could not be read"
    }
  }
}
