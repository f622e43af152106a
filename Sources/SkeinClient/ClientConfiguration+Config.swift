public import Configuration
import RecordFormat
import SkeinCore

/// Configuration from swift-configuration: environment (`SKEIN_SERVERS`, `SKEIN_TLS_CA` …), files, flags, or whatever
/// providers the application has.
extension ClientConfiguration {
  /// Reads:
  ///
  /// | key | |
  /// |---|---|
  /// | `skein.servers` | list of `host:port`; needed |
  /// | `skein.tls.ca` | path of a PEM file; needed |
  /// | `skein.tls.certificate`, `skein.tls.key` | paths of PEM files; needed without a token file |
  /// | `skein.token-file` | path of a file with a bearer token |
  /// | `skein.tls.server-name` | the name in the broker's certificate, if it is not the host's |
  /// | `skein.connect-timeout-ms`, `skein.request-timeout-ms`, `skein.unreachable-timeout-ms` | milliseconds |
  /// | `skein.wait-for-ready` | `true` or `false` |
  /// | `skein.event-loop-threads` | |
  /// - Throws: INVALID_REQUEST with every key that is missing or wrong.
  public init(config: ConfigReader) throws(SkeinError) {
    var keys = ConfigKeys(config)
    let servers = keys.list("skein.servers")
    var tls = TLSIdentity(
      ca: .file(keys.needed("skein.tls.ca")), serverName: keys.text("skein.tls.server-name"))
    let tokenFile = keys.text("skein.token-file")
    if tokenFile == nil || keys.text("skein.tls.certificate") != nil {
      tls.certificate = .file(keys.needed("skein.tls.certificate"))
      tls.key = .file(keys.needed("skein.tls.key"))
    }
    self.init(addresses: servers, tls: tls)
    token = tokenFile.map { .file($0) }
    keys.duration("skein.connect-timeout-ms", &connectTimeout)
    keys.duration("skein.request-timeout-ms", &requestTimeout)
    keys.duration("skein.unreachable-timeout-ms", &unreachableTimeout)
    keys.flag("skein.wait-for-ready", &waitsForReady)
    keys.count("skein.event-loop-threads", &eventLoopThreads)
    for address in servers { keys.check { () throws(SkeinError) in _ = try Endpoint(address) } }
    try keys.finish()
  }
}

extension ProducerConfiguration {
  /// Reads `skein.producer.batch-bytes`, `.linger-ms`, `.max-in-flight-batches`, `.buffer-bytes`,
  /// `.delivery-deadline-ms`, `.compression` (none, gzip, lz4, zstd) and `.acks` (topic, leader, all); what is not
  /// there keeps its default.
  /// - Throws: INVALID_REQUEST with every key that is wrong.
  public init(config: ConfigReader) throws(SkeinError) {
    self.init()
    var keys = ConfigKeys(config)
    keys.count("skein.producer.batch-bytes", &batchBytes)
    keys.duration("skein.producer.linger-ms", &linger)
    keys.count("skein.producer.max-in-flight-batches", &maxInFlightBatches)
    keys.count("skein.producer.buffer-bytes", &bufferBytes)
    keys.duration("skein.producer.delivery-deadline-ms", &deliveryDeadline)
    let codecs: [String: Codec] = ["none": .none, "gzip": .gzip, "lz4": .lz4, "zstd": .zstd]
    if let codec = keys.choice("skein.producer.compression", codecs) { compression = codec }
    let levels: [String: Acknowledgement] = ["topic": .topicDefault, "leader": .leader, "all": .all]
    if let level = keys.choice("skein.producer.acks", levels) { acknowledgement = level }
    try keys.finish()
    _ = try validated()
  }
}

extension ReaderConfiguration {
  /// Reads `skein.reader.buffer-bytes`, `.buffer-records` and `.max-message-bytes`; what is not there keeps its default.
  /// - Throws: INVALID_REQUEST with every key that is wrong.
  public init(config: ConfigReader) throws(SkeinError) {
    self.init()
    var keys = ConfigKeys(config)
    keys.count("skein.reader.buffer-bytes", &bufferBytes)
    keys.count("skein.reader.buffer-records", &bufferRecords)
    keys.count("skein.reader.max-message-bytes", &maxMessageBytes)
    try keys.finish()
    _ = try validated()
  }
}

/// Reads keys and collects what is wrong with them, so that it is said at once.
private struct ConfigKeys {
  private let config: ConfigReader
  private var violations: [SkeinError.FieldViolation] = []

  init(_ config: ConfigReader) { self.config = config }

  mutating func needed(_ key: String) -> String {
    if let text = text(key), !text.isEmpty { return text }
    wrong(key, "is missing; give the path of a PEM file")
    return ""
  }

  mutating func list(_ key: String) -> [String] {
    let list = config.stringArray(forKey: ConfigKey(key)) ?? text(key).map { [$0] } ?? []
    if list.isEmpty { wrong(key, "is missing; give at least one HOST:PORT") }
    return list
  }

  func text(_ key: String) -> String? { config.string(forKey: ConfigKey(key)) }

  mutating func count(_ key: String, _ value: inout Int) {
    if let number = integer(key) { value = number }
  }

  mutating func duration(_ key: String, _ value: inout Duration) {
    if let milliseconds = integer(key) { value = .milliseconds(milliseconds) }
  }

  mutating func flag(_ key: String, _ value: inout Bool) {
    if let flag = config.bool(forKey: ConfigKey(key)) {
      value = flag
    } else if let text = text(key) {
      wrong(key, "must be true or false, is \"\(text)\"")
    }
  }

  mutating func choice<Value>(_ key: String, _ values: [String: Value]) -> Value? {
    guard let text = text(key) else { return nil }
    if let value = values[text] { return value }
    wrong(key, "must be one of \(values.keys.sorted().joined(separator: ", ")), is \"\(text)\"")
    return nil
  }

  private mutating func integer(_ key: String) -> Int? {
    if let number = config.int(forKey: ConfigKey(key)) {
      if number >= 0 { return number }
      wrong(key, "must not be negative, is \(number)")
    } else if let text = text(key) {
      wrong(key, "must be a whole number, is \"\(text)\"")
    }
    return nil
  }

  mutating func check(_ body: () throws(SkeinError) -> Void) {
    do throws(SkeinError) { try body() } catch { wrong("skein.servers", error.message) }
  }

  private mutating func wrong(_ key: String, _ text: String) {
    violations.append(.init(field: key, description: text))
  }

  func finish() throws(SkeinError) {
    guard !violations.isEmpty else { return }
    var error = SkeinError(
      .invalidRequest,
      "client configuration: " + violations.map { "\($0.field) \($0.description)" }.joined(separator: "; "))
    error.violations = violations
    throw error
  }
}
