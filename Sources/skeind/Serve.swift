import ArgumentParser
import Broker
import DiskIO
import Dispatch
import Foundation
import Logging
import SkeinCore

/// `skeind serve`, the default.
struct Serve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Run the broker (the default).")

  @OptionGroup var options: SettingsOptions

  func run() async throws {
    let development: DevelopmentFolder?
    let settings: Settings
    do throws(Fault) {
      // Before any key is read.
      try PrivateProcess.hide()
      development = try options.developmentFolder()
      settings = try options.settings(development)
    } catch {
      Failure.exit(error.message, code: 2)
    }
    let level = Logger.Level(rawValue: settings["log.level"]) ?? .info
    LoggingSystem.bootstrap { StructuredLogHandler(label: $0, level: level) }
    let logger = Logger(label: "skeind")
    // Writing to a closed socket or pipe is an error to handle, not a reason to die.
    signal(SIGPIPE, SIG_IGN)
    let signals = TerminationSignals()
    let hangUps = HangUpSignal()
    do {
      let broker = try await Broker.start(
        try BrokerConfiguration(settings), time: SystemTime(), random: SystemRandom(), logger: logger,
        onFatal: { fault in signals.raise(fatal: fault) }, onDrain: { signals.raiseDrain() })
      try development?.writeContext(address: broker.address)
      let tokens = broker.tokenAddress.map { " tokens=\($0)" } ?? ""
      FileHandle.standardOutput.write(
        Data("skeind ready grpc=\(broker.address) operations=\(broker.operationsAddress)\(tokens)\n".utf8))
      let outcome = await withTaskGroup(of: Void.self) { group in
        group.addTask { await broker.run() }
        group.addTask {
          for await _ in hangUps.stream { broker.reloadCertificates() }
        }
        let outcome = await signals.wait()
        await broker.stop()
        group.cancelAll()
        return outcome
      }
      if case .fatal(let fault) = outcome { Failure.exit(fault.message, code: 1) }
    } catch let fault as Fault {
      Failure.exit(fault.message, code: 1)
    } catch {
      Failure.exit("\(error)", code: 1)
    }
  }
}

/// `skeind check-config`.
struct CheckConfig: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-config", abstract: "Show the settings in force and where each came from.")

  @OptionGroup var options: SettingsOptions

  func run() throws {
    do throws(Fault) {
      let settings = try options.settings(try options.developmentFolder())
      for definition in SettingDefinition.all {
        guard let value = settings.values[definition.key] else { continue }
        print("\(definition.key): \(value.text.displayable)  # \(value.source)")
      }
      warnAboutVariables()
    } catch {
      Failure.exit(error.message, code: 2)
    }
  }
}

extension CheckConfig {
  /// Variables that are almost a setting: a name that is only mistyped would be passed over in silence.
  private func warnAboutVariables() {
    let known = SettingDefinition.all.map(\.variable)
    for name in ProcessInfo.processInfo.environment.keys.sorted() where name.hasPrefix("SKEIN_") {
      guard !known.contains(name), let near = NearestWord.find(name, in: known) else { continue }
      FileHandle.standardError.write(
        Data("skeind: the environment's \(name.displayable) is no setting; did you mean \(near)?\n".utf8))
    }
  }
}

extension SettingsOptions {
  func developmentFolder() throws(Fault) -> DevelopmentFolder? {
    guard let dev else { return nil }
    return try DevelopmentFolder(dev)
  }

  func settings(_ development: DevelopmentFolder?) throws(Fault) -> Settings {
    var file: (name: String, text: String)?
    if let config {
      let data: Data
      do { data = try Data(contentsOf: URL(fileURLWithPath: config)) } catch {
        throw Fault(
          .invalidRequest,
          "cannot read the settings file \(config.displayable): \(Self.why(config, error)); check the path and its permissions"
        )
      }
      guard let text = String(data: data, encoding: .utf8) else {
        throw Fault(.invalidRequest, "\(config) is not UTF-8 text")
      }
      file = (config, text)
    }
    let flags: [String: String]
    do {
      flags = try values()
    } catch {
      throw Fault(.invalidRequest, "\(error)")
    }
    return try Settings(
      flags: flags, environment: ProcessInfo.processInfo.environment, file: file,
      standards: development?.settings ?? [:])
  }
}

extension SettingsOptions {
  /// Why a file cannot be read.
  private static func why(_ path: String, _ error: any Error) -> String {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else { return "no such file" }
    if isFolder.boolValue { return "it is a directory" }
    if !FileManager.default.isReadableFile(atPath: path) { return "permission denied" }
    return (error as NSError).localizedDescription
  }
}

extension BrokerConfiguration {
  init(_ settings: Settings) throws(Fault) {
    guard let listen = settings.address("listen"), let operations = settings.address("operations") else {
      throw Fault(.internalError, "addresses were not checked")
    }
    self.init(
      dataDirectory: settings["data.directory"], certificateFile: settings["tls.certificate"],
      keyFile: settings["tls.key"], clientAuthoritiesFile: settings["tls.client-authorities"])
    host = listen.host
    port = listen.port
    operationsHost = operations.host
    operationsPort = operations.port
    clusterID = settings["cluster.id"]
    brokerID = Int32(clamping: settings.integer("broker.id"))
    eventLoops = Int(settings.integer("event-loops"))
    memoryBudget = Int(settings.integer("memory.budget-bytes"))
    streamWindowBytes = Int32(clamping: settings.integer("http2.stream-window-bytes"))
    certificateWatchMilliseconds = settings.integer("tls.watch-ms")
    addTLS(
      identities: try Self.identities(settings["tls.additional-certificates"]),
      revocationsFile: settings["tls.revocations"])
    maxConnectionAgeMilliseconds = Self.age(settings, "http2.max-connection-age-ms")
    maxStreamAgeMilliseconds = Self.age(settings, "http2.max-stream-age-ms")
    minBytesPerSecond = Int(settings.integer("http2.min-bytes-per-second"))
    unreadMilliseconds = settings.integer("http2.unread-ms")
    connectionWindowBytes = Int32(clamping: settings.integer("http2.connection-window-bytes"))
    journalBytes = settings.integer("journal.bytes")
    diskReserveBytes = settings.integer("disk.reserve-bytes")
    drainMilliseconds = settings.integer("drain.ms")
    maintenanceMilliseconds = settings.integer("maintenance.ms")
    scrubBytesPerSecond = Int(settings.integer("scrub.bytes-per-second"))
    scrubIntervalMilliseconds = settings.integer("scrub.interval-ms")
    compactionBytes = Int(settings.integer("compaction.memory"))
    compactionBytesPerSecond = Int(settings.integer("compaction.bytes-per-second"))
    compactionIntervalMilliseconds = settings.integer("compaction.interval-ms")
    allowsDevelopmentPlugins = settings["plugins.allow-dev"] == "true"
    pluginReleaseKey = try Self.releaseKey(settings["plugins.release-key"])
    pluginUserID = UInt32(clamping: settings.integer("plugins.child-user-id"))
    pluginHostProgram = Self.hostProgram(settings["plugins.host-program"])
    tokenListener = try TokenListenerConfiguration.checked(
      settings["token-listen"].isEmpty
        ? nil : settings.address("token-listen").map { ($0.host, $0.port) },
      authenticator: settings["token-authenticator"])
    offsetStores = try OffsetStoreSetting.parse(settings["offset-stores"])
    groupOffsetStore = settings["groups.offset-store"]
    do {
      try OffsetStoreSetting.check(groupOffsetStore, among: offsetStores)
    } catch {
      throw Fault(.offsetStoreNotFound, "groups.offset-store: \(error.message)", metadata: error.metadata)
    }
    partitionerWatchMilliseconds = settings.integer("plugins.watch-ms")
    maximumUncommitted = settings.integer("groups.max-uncommitted")
    fenceWaitMilliseconds = settings.integer("groups.fence-wait-ms")
    try setGroupTimes(
      session: settings.integer("groups.session-ms"),
      reconnectGrace: settings.integer("groups.reconnect-grace-ms"),
      heartbeat: settings.integer("groups.heartbeat-ms"))
    #if DEBUG
      // For the kill test, which must see that it can fail.
      acknowledgesBeforeSync = ProcessInfo.processInfo.environment["SKEIN_BREAKAGE"] == "ack-before-sync"
    #endif
  }
}

extension BrokerConfiguration {
  /// The text of the key's file; an empty path is none.
  private static func releaseKey(_ path: String) throws(Fault) -> String {
    guard !path.isEmpty else { return "" }
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
      throw Fault(
        .invalidRequest,
        "plugins.release-key: cannot read \(path.displayable); name the file of a public key (PEM), or leave it empty"
      )
    }
    return text
  }

  /// The setting, or the program beside this one.
  private static func hostProgram(_ path: String) -> String {
    guard path.isEmpty else { return path }
    return Bundle.main.executableURL?.resolvingSymlinksInPath().deletingLastPathComponent()
      .appendingPathComponent("skein-plugin-host").path ?? ""
  }

  private static func age(_ settings: Settings, _ key: String) -> Int64? {
    let milliseconds = settings.integer(key)
    return milliseconds > 0 ? milliseconds : nil
  }

  /// `certificate:key,certificate:key`.
  private static func identities(_ text: String) throws(Fault) -> [(certificate: String, key: String)] {
    var result: [(certificate: String, key: String)] = []
    for pair in text.split(separator: ",") {
      let files = pair.split(separator: ":", omittingEmptySubsequences: false).map {
        $0.trimmingCharacters(in: .whitespaces)
      }
      guard files.count == 2, !files[0].isEmpty, !files[1].isEmpty else {
        throw Fault(
          .invalidRequest,
          "tls.additional-certificates: \"\(String(pair).displayable)\" is not certificate:key; name two files"
        )
      }
      result.append((files[0], files[1]))
    }
    return result
  }
}

/// SIGHUP, which asks for the certificates to be loaded again.
///
/// `@unchecked Sendable`: everything is set once; the source is only kept alive.
final class HangUpSignal: @unchecked Sendable {
  let stream: AsyncStream<Void>
  private let source: any DispatchSourceSignal

  init() {
    let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    self.stream = stream
    signal(SIGHUP, SIG_IGN)
    source = DispatchSource.makeSignalSource(signal: SIGHUP, queue: .global())
    source.setEventHandler { continuation.yield() }
    source.resume()
  }
}

/// Ends the program with a message on stderr.
enum Failure {
  static func exit(_ message: String, code: Int32) -> Never {
    FileHandle.standardError.write(Data("skeind: \(message)\n".utf8))
    Foundation.exit(code)
  }
}

/// SIGTERM and SIGINT, and the broker's own reason to stop. Threading: any thread.
///
/// `@unchecked Sendable`: `sources` is set once and only kept alive.
final class TerminationSignals: @unchecked Sendable {
  enum Outcome: Sendable {
    case signal
    case fatal(Fault)
  }

  private let stream: AsyncStream<Outcome>
  private let continuation: AsyncStream<Outcome>.Continuation
  private let sources: [any DispatchSourceSignal]

  init() {
    let (stream, continuation) = AsyncStream<Outcome>.makeStream(bufferingPolicy: .bufferingOldest(1))
    self.stream = stream
    self.continuation = continuation
    sources = [SIGTERM, SIGINT].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { continuation.yield(.signal) }
      source.resume()
      return source
    }
  }

  /// A client ordered the drain: as if SIGTERM had come.
  func raiseDrain() { continuation.yield(.signal) }

  func raise(fatal fault: Fault) { continuation.yield(.fatal(fault)) }

  func wait() async -> Outcome {
    for await outcome in stream { return outcome }
    return .signal
  }
}
