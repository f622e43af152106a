import Foundation
import SkeinClient

/// One run: start, load, kill and restart `rounds` times, drain, read everything back, compare.
struct Trial {
  static let topic = "kills"
  /// From SIGKILL to the next acknowledgement; a broker that cannot come back by then has failed.
  static let recovery = Duration.seconds(60)

  let options: KillDriver
  let seed: UInt64
  let folder: String

  init(_ options: KillDriver, seed: UInt64) {
    self.options = options
    self.seed = seed
    folder = options.directory + "/broker"
  }

  func run() async throws -> Report {
    var random = SplitMix(state: seed)
    let ledger = Ledger(producers: options.producers, partitions: Int(options.partitions))
    var broker = BrokerProcess(
      options.skeind, variables: options.variables, folder: folder, log: options.directory + "/skeind.log")
    defer { broker.abandon() }
    try FileManager.default.createDirectory(
      atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    try await broker.start()
    var configuration = clientConfiguration(broker.address, tls: folder + "/tls")
    // The application's calls, too, outlast a restart.
    configuration.waitsForReady = options.stop == .term
    // In the control the refusal is waited for.
    if options.noReload { configuration.requestTimeout = .seconds(3) }
    let reading = configuration
    var rotation = options.rotate ? try Rotation(folder: folder) : nil
    let client = try Client(configuration)
    try await client.admin.createTopic(
      Self.topic, partitions: options.partitions,
      settings: ["segment.bytes": String(1 << 20), "retention.ms": "-1"])

    let report = try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<options.producers {
        let load = Load(client: client, number: number, seed: seed, rate: options.rate, ledger: ledger)
        group.addTask { try await load.run() }
      }
      let observer = Observer(client: client, ledger: ledger)
      group.addTask { await observer.run() }
      defer {
        ledger.stop()
        group.cancelAll()
      }
      for round in 1...options.rounds {
        if options.stop == .kill {
          try await killOnce(&broker, round: round, ledger: ledger, random: &random)
        } else {
          try await restartOnce(
            &broker, &rotation, round: round, client: client, ledger: ledger, random: &random)
        }
      }
      ledger.stop()
      let deadline = ContinuousClock.now + .seconds(150)
      while !ledger.isDrained, ledger.gaveUp.isEmpty, ContinuousClock.now < deadline {
        if let ending = broker.ending {
          throw TrialFailure("the broker ended by itself, \(ending); see \(broker.log)")
        }
        try await Task.sleep(for: .milliseconds(20))
      }
      return try await Check(configuration: reading, ledger: ledger, options: options).run()
    }
    await client.close()
    try await broker.terminate()
    return report
  }

  /// Waits until the load flows, then a random while, and kills; one time in four the kill hits the
  /// broker while it starts and recovers.
  private func killOnce(
    _ broker: inout BrokerProcess, round: Int, ledger: Ledger, random: inout SplitMix
  ) async throws {
    let early = round > 1 && random.below(4) == 0
    let pause = early ? 20 + random.below(400) : 100 + random.below(900)
    if early {
      try await broker.kill()
      try await afterKill(random.below(1 << 30))
      try broker.launch()
      try await Task.sleep(for: .milliseconds(pause))
    } else {
      try await flows(broker, ledger)
      try await Task.sleep(for: .milliseconds(pause))
    }
    try await broker.kill()
    try await afterKill(random.below(1 << 30))
    let started = ContinuousClock.now
    try await broker.start()
    let took = (ContinuousClock.now - started).components
    let milliseconds = took.seconds * 1000 + took.attoseconds / 1_000_000_000_000_000
    say(
      "kill \(round)/\(options.rounds)\(early ? " (in recovery)" : ""): \(ledger.acknowledged) acknowledged, ready again in \(milliseconds) ms"
    )
  }

  /// Under load: certificates are replaced, then the broker drains, ends with 0 and starts again. The application
  /// must notice nothing but time.
  private func restartOnce(
    _ broker: inout BrokerProcess, _ rotation: inout Rotation?, round: Int, client: Client,
    ledger: Ledger, random: inout SplitMix
  ) async throws {
    try await flows(broker, ledger)
    if rotation != nil {
      let process = broker
      try await rotation?.run {
        if !options.noReload { try await process.reloadCertificates() }
      }
      // A new connection, with the new certificate.
      client.reloadIdentity()
      do { _ = try await client.admin.describeCluster() } catch {
        ledger.giveUp("with the new certificate: \(error)")
        return
      }
      try await flows(broker, ledger)
    }
    try await Task.sleep(for: .milliseconds(50 + random.below(300)))
    async let description = client.admin.describeTopic(Self.topic)
    try await broker.terminate()
    try await broker.start()
    do { _ = try await description } catch { ledger.giveUp("a call during the restart: \(error)") }
    say("restart \(round)/\(options.rounds): \(ledger.acknowledged) acknowledged")
  }

  private func flows(_ broker: BrokerProcess, _ ledger: Ledger) async throws {
    let before = ledger.acknowledged
    try await until("records are acknowledged again") {
      if let ending = broker.ending {
        throw TrialFailure("the broker ended by itself, \(ending); see \(broker.log)")
      }
      return ledger.acknowledged > before || !ledger.gaveUp.isEmpty
    }
  }

  /// - Parameter seed: drawn for this kill, so that a trial repeats from its seed.
  private func afterKill(_ seed: Int) async throws {
    guard let command = options.afterKill else { return }
    var environment = options.variables
    environment["DIR"] = folder
    environment["ROUND_SEED"] = String(seed)
    environment["LD_PRELOAD"] = nil
    let status = try await runToEnd("/bin/sh", ["-c", command], environment: environment)
    guard status == 0 else { throw TrialFailure("after-kill command ended with \(status): \(command)") }
  }

  private func until(_ what: String, _ holds: () throws -> Bool) async throws {
    let deadline = ContinuousClock.now + Self.recovery
    while try !holds() {
      guard ContinuousClock.now < deadline else {
        throw TrialFailure("waited \(Self.recovery) in vain until \(what)")
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }
}

/// - Parameter tls: the folder of a `skeind --dev`.
func clientConfiguration(_ address: String, tls: String) -> ClientConfiguration {
  ClientConfiguration(
    address: address,
    tls: TLSIdentity(
      ca: .file(tls + "/ca.pem"), certificate: .file(tls + "/admin.pem"), key: .file(tls + "/admin.key")))
}

/// A small seeded generator (SplitMix64), so that a run can be repeated from its seed.
struct SplitMix {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
}
