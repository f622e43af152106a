import Foundation
import SkeinClient
import Synchronization

/// One run: load, swaps (and kills), the end of the load, and the check.
struct SwapTrial {
  let options: SwapDriver
  private let seed: UInt64
  /// Where the swaps go, in turn.
  private let targets: [PartitionerBinding]

  init(_ options: SwapDriver) throws {
    self.options = options
    seed = options.seed == 0 ? UInt64.random(in: 1...UInt64.max) : options.seed
    targets = options.swap.map { text in
      let parts = text.split(separator: " ", maxSplits: 1).map(String.init)
      return PartitionerBinding(parts[0], config: parts.count > 1 ? parts[1] : "")
    }
  }

  /// When a swap was under way, in nanoseconds since the run began.
  private typealias Span = (begin: Int64, end: Int64)

  func run() async throws -> SwapReport {
    var report = SwapReport()
    var broker: BrokerProcess?
    var configuration: ClientConfiguration
    if let skeind = options.skeind, let directory = options.directory {
      let folder = directory + "/broker"
      try FileManager.default.createDirectory(
        atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      var started = BrokerProcess(
        skeind, variables: environmentVariables(options.environment), folder: folder,
        log: directory + "/skeind.log")
      do { try await started.start() } catch {
        started.abandon()
        throw error
      }
      configuration = clientConfiguration(started.address, tls: folder + "/tls")
      broker = started
      if let setup = options.setup { try await runSetup(setup, started.address, folder) }
      say("seed \(seed)")
    } else {
      configuration = clientConfiguration(options.address ?? "", tls: options.tls ?? "")
    }
    defer { broker?.abandon() }
    configuration.waitsForReady = true
    let client = try Client(configuration)
    try await client.admin.createTopicIfMissing(
      options.topic, partitions: options.partitions, settings: ["retention.ms": "-1"])

    let isOver = Stop()
    let begun = ContinuousClock.now
    let wall = Int64(Date().timeIntervalSince1970 * 1000)
    let ledgers = (0..<options.producers).map { _ in SwapLedger() }
    var spans: [Span] = []
    var history: [UInt32: PartitionerGeneration] = [:]
    let loads = Task {
      await withTaskGroup(of: Void.self) { group in
        for (number, ledger) in ledgers.enumerated() {
          let load = SwapLoad(
            client: client, options: options, number: number, ledger: ledger, begun: begun,
            isOver: { isOver.isSet })
          group.addTask { await load.run() }
        }
      }
    }
    do {
      if targets.isEmpty {
        try await waitForEnd(isOver)
      } else {
        try await Task.sleep(for: .milliseconds(options.before))
        spans = try await swapAll(client, &broker, ledgers, begun, &history, &report)
        try await Task.sleep(for: .milliseconds(300))
      }
    } catch {
      isOver.set()
      loads.cancel()
      throw error
    }
    isOver.set()
    await loads.value
    for ledger in ledgers { for failure in ledger.failures { report.note(\.broken, failure) } }
    if targets.isEmpty {
      let generations = try await client.admin.describeTopic(options.topic).generations
      report.swaps = generations.count { $0.since >= wall }
      spans = generations.filter { $0.since >= wall }.map { generation in
        let at = (generation.since - wall) * 1_000_000
        return (at - Int64(options.around) * 1_000_000, at + Int64(options.around) * 1_000_000)
      }
    }
    sort(ledgers, spans, &report)
    try await SwapCheck(options: options, ledgers: ledgers, history: history).run(client, &report)
    await client.close()
    try await broker?.terminate()
    return report
  }

  private func sort(_ ledgers: [SwapLedger], _ spans: [Span], _ report: inout SwapReport) {
    let first = spans.map(\.begin).min() ?? .max
    for ledger in ledgers {
      for entry in ledger.entries where entry.latency >= 0 {
        // Connecting and the first batches are no yardstick.
        if entry.due < first, entry.due > 500_000_000, entry.due + entry.latency < first {
          report.before.append(entry.latency)
        } else if spans.contains(where: { entry.due >= $0.begin && entry.due <= $0.end }) {
          report.during.append(entry.latency)
        }
      }
    }
  }

  private func waitForEnd(_ isOver: Stop) async throws {
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, SIG_IGN)
    let sources = [SIGINT, SIGTERM].map { number in
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { isOver.set() }
      source.resume()
      return source
    }
    defer { for source in sources { source.cancel() } }
    let end = ContinuousClock.now + .seconds(options.seconds == 0 ? 1_000_000 : options.seconds)
    while !isOver.isSet, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(20)) }
  }

  // MARK: Swaps

  private func swapAll(
    _ client: Client, _ broker: inout BrokerProcess?, _ ledgers: [SwapLedger],
    _ begun: ContinuousClock.Instant, _ history: inout [UInt32: PartitionerGeneration],
    _ report: inout SwapReport
  ) async throws -> [Span] {
    var random = SplitMix(state: seed)
    var spans: [Span] = []
    let end = ContinuousClock.now + .seconds(options.seconds)
    var number = 0
    while options.swaps > 0 ? number < options.swaps : ContinuousClock.now < end {
      let target = targets[number % targets.count]
      number += 1
      let begin = SwapLoad.nanoseconds(since: begun)
      let before = try await client.admin.topicSummary(options.topic)
      let heard = Heard()
      let swap = Task { try await follow(client, target, heard) }
      if broker != nil, random.below(100) < options.killShare {
        try await moment(heard, &random)
        try await broker?.kill()
        report.kills += 1
        _ = try? await swap.value
        try await broker?.start()
      } else {
        try await swap.value
      }
      let finish = SwapLoad.nanoseconds(since: begun)
      spans.append((begin, finish + 100_000_000))
      report.swaps += 1
      if let pause = heard.pause { report.pauses.append(pause) }
      let generations = try await checkGeneration(client, before, target, heard.committed, &report)
      for generation in generations { history[generation.generation] = generation }
      if number % 20 == 0 {
        say(
          "\(number) swaps, \(report.kills) kills, \(ledgers.reduce(0) { $0 + $1.acknowledged }) acknowledged"
        )
      }
      try await flows(ledgers)
      try await Task.sleep(for: .milliseconds(options.every))
    }
    return spans
  }

  /// Some time after the swap begins, or just after one of its steps: a commit takes but milliseconds.
  private func moment(_ heard: Heard, _ random: inout SplitMix) async throws {
    let steps: [PartitionerProgress.Phase?] = [nil, .prepared, .fenced, .committed]
    let step = steps[random.below(options.fence ? 4 : 2)]
    let pause = random.below(step == nil ? options.killWithin * 1000 + 1 : 8_000)
    let deadline = ContinuousClock.now + .seconds(10)
    while let step, !heard.has(step), ContinuousClock.now < deadline {
      try await Task.sleep(for: .microseconds(100))
    }
    try await Task.sleep(for: .microseconds(pause))
  }

  private func follow(_ client: Client, _ target: PartitionerBinding, _ heard: Heard) async throws {
    var how = PartitionerChangeOptions()
    how.fence = options.fence
    how.acceptsReorder = options.acceptReorder
    how.watch = .milliseconds(options.watch)
    for try await step in client.admin.setPartitioner(options.topic, to: target, how) {
      heard.take(step)
      if step.phase == .drained { return }
    }
  }

  /// Exactly the generation that was committed is in force, and the history says the same.
  private func checkGeneration(
    _ client: Client, _ before: TopicSummary, _ target: PartitionerBinding, _ committed: UInt32?,
    _ report: inout SwapReport
  ) async throws -> [PartitionerGeneration] {
    let description = try await client.admin.describeTopic(options.topic)
    let now = description.topic
    let text =
      "generation \(now.generation) (\(now.partitioner)) after a swap from \(before.generation) (\(before.partitioner)) to \(target.partitioner)"
    let numbers = description.generations.map(\.generation)
    if numbers.last != now.generation || description.generations.last?.binding.partitioner != now.partitioner
      || zip(numbers, numbers.dropFirst()).contains(where: { $1 != $0 + 1 })
    {
      report.note(\.broken, "\(text): the history says \(numbers)")
    }
    if let last = description.generations.last, last.rollsBackTo != nil, now.generation > before.generation {
      report.rolledBack += 1
      return description.generations
    }
    if now.generation == before.generation, now.partitioner == before.partitioner {
      if let committed { report.note(\.broken, "\(text), which was committed as \(committed)") }
    } else if now.generation == before.generation + 1, now.partitioner == target.partitioner {
      if committed == nil { report.committedUnheard += 1 }
    } else {
      report.note(\.broken, text)
    }
    return description.generations
  }

  /// Records are acknowledged again, of every producer.
  private func flows(_ ledgers: [SwapLedger]) async throws {
    let deadline = ContinuousClock.now + Trial.recovery
    for ledger in ledgers {
      let before = ledger.acknowledged
      while ledger.acknowledged == before, ledger.failures.isEmpty {
        guard ContinuousClock.now < deadline else {
          throw TrialFailure("no record was acknowledged for \(Trial.recovery) after a swap")
        }
        try await Task.sleep(for: .milliseconds(2))
      }
    }
  }

  private func runSetup(_ command: String, _ address: String, _ folder: String) async throws {
    var environment = environmentVariables([])
    environment["ADDRESS"] = address
    environment["TLS"] = folder + "/tls"
    environment["CONTEXT"] = folder + "/context.yaml"
    let status = try await runToEnd("/bin/sh", ["-c", command], environment: environment)
    guard status == 0 else { throw TrialFailure("the setup command ended with \(status): \(command)") }
  }
}

/// Set once, from anywhere.
final class Stop: Sendable {
  private let state = Mutex(false)
  var isSet: Bool { state.withLock { $0 } }
  func set() { state.withLock { $0 = true } }
}

/// What was heard of a swap before it, or the broker, ended.
final class Heard: Sendable {
  private struct State {
    var committed: UInt32?
    var pause: Int64?
    var phases: [PartitionerProgress.Phase] = []
  }
  private let state = Mutex(State())
  var committed: UInt32? { state.withLock { $0.committed } }
  var pause: Int64? { state.withLock { $0.pause } }

  func has(_ phase: PartitionerProgress.Phase) -> Bool { state.withLock { $0.phases.contains(phase) } }

  func take(_ step: PartitionerProgress) {
    state.withLock { state in
      state.phases.append(step.phase)
      if step.phase == .committed { state.committed = step.generation }
      if step.phase == .flipped { state.pause = Int64(step.pause / .microseconds(1)) }
    }
  }
}
