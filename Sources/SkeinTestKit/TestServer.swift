import Broker
import Foundation
import Logging
import SkeinCore

/// The broker behind a `TestBroker`, through its starts and stops; an actor, so that they happen one after the other.
actor TestServer {
  enum Ending { case clean, killed }

  nonisolated let folder: URL
  private let options: TestBrokerOptions
  private let authority: TestAuthority
  /// 0 until the first start chose one.
  private var port = 0
  private var running: (broker: Broker, work: Task<Void, Never>)?
  private var hasEnded = false
  /// The last start or stop: an actor lets others in at every `await`, so each waits for the one before.
  private var last: Task<Void, Never>?

  init(_ options: TestBrokerOptions, _ authority: TestAuthority) throws {
    self.options = options
    self.authority = authority
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("skein-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(
      at: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
  }

  /// - Returns: host:port.
  func start() async throws -> String {
    let before = last
    let attempt = Task {
      await before?.value
      return try await launch()
    }
    last = Task { _ = await attempt.result }
    return try await attempt.value
  }

  func stop(_ ending: Ending) async {
    let before = last
    let attempt = Task {
      await before?.value
      await halt(ending)
    }
    last = attempt
    await attempt.value
  }

  /// Stops for good and removes the folder.
  func end() async {
    await stop(.clean)
    hasEnded = true
    try? FileManager.default.removeItem(at: folder)
  }

  private func launch() async throws -> String {
    guard !hasEnded else { throw Fault(.invalidRequest, "this TestBroker is closed; start another") }
    guard running == nil else { throw Fault(.invalidRequest, "this TestBroker runs already") }
    var configuration = BrokerConfiguration(
      dataDirectory: folder.appendingPathComponent("data").path, tls: authority.serverTLS)
    configuration.port = port
    configuration.operationsPort = 0
    configuration.eventLoops = options.eventLoops
    configuration.memoryBudget = options.memoryBudget
    // Two files of the ring, written in advance; no more than a test needs.
    configuration.journalBytes = 64 << 20
    configuration.diskReserveBytes = 64 << 20
    configuration.drainMilliseconds = max(0, options.drain.milliseconds)
    let session = min(max(options.groupSession.milliseconds, 1_000), 3_600_000)
    try configuration.setGroupTimes(
      session: session, reconnectGrace: min(6_000, session / 3), heartbeat: min(5_000, session / 3),
      quarantine: options.groupQuarantine.milliseconds)
    let broker = try await Broker.start(
      configuration, time: SystemTime(), random: SystemRandom(),
      logger: options.logger ?? Logger(label: "skein-test") { _ in SwiftLogNoOpLogHandler() })
    port = Int(broker.address.split(separator: ":").last ?? "") ?? 0
    running = (broker, Task { await broker.run() })
    return broker.address
  }

  private func halt(_ ending: Ending) async {
    guard let (broker, work) = running else { return }
    running = nil
    switch ending {
    case .clean: await broker.stop()
    case .killed: await broker.kill()
    }
    await work.value
  }
}

extension Duration {
  /// Within what a clock can tell.
  fileprivate var milliseconds: Int64 {
    let (seconds, attoseconds) = components
    return min(max(seconds, -1 << 40), 1 << 40) * 1000 + attoseconds / 1_000_000_000_000_000
  }
}
