import Logging
import NIOCore
import NIOPosix
import Simulation
import SkeinCore
import Testing

@testable import Broker

/// What is told, counted and waited for around the calls of one plug-in.
@Suite struct TopicPlacerTests {
  private static let id = "com.acme.fake@1.0.0"

  private struct Rig {
    let fakes: FakePartitioners
    let time = SimulatedTime()
    let log = LogRecorder.Lines()
    let placer: TopicPlacer
    let loop: any EventLoop = MultiThreadedEventLoopGroup.singleton.next()

    init(_ behaviour: FakePartitioners.Behaviour, fallback: TopicBinding.Fallback = .reject) async throws {
      fakes = FakePartitioners([TopicPlacerTests.id: behaviour])
      let topic = Topic(
        id: TopicID(high: 1, low: 2), tenant: .default, name: "t",
        current: TopicGeneration(
          1, TopicBinding(partitioner: TopicPlacerTests.id, config: "", weights: [], fallback: fallback),
          partitions: 4), settings: TopicSettings(), explicitSettings: [:], createdMilliseconds: 0,
        revision: 1)
      let recorder = LogRecorder(log)
      placer = TopicPlacer(
        topic, .success(try await fakes.load(TopicPlacerTests.id, config: "{}", usedBy: "t")), time: time,
        logger: Logger(label: "test") { _ in recorder })
    }

    func place() async -> Result<[Int32], Fault> {
      await withCheckedContinuation { continuation in
        placer.place(PlacementColumns(keyLengths: [0, 2], keys: SharedBytes([7])), on: loop) {
          continuation.resume(returning: $0)
        }
      }
    }
  }

  /// The log hears of the first failure and of its end, not of each call, and of flapping every 10 s at most.
  @Test func theFallbackIsAnnounced() async throws {
    let rig = try await Rig(.outOfRange, fallback: .builtIn(.murmur2))
    for _ in 0..<5 {
      let placed = try await rig.place().get()
      #expect(placed[0] == -1 && (0..<4).contains(placed[1]))
    }
    func told() -> [Substring] { rig.log.text.split(separator: "\n").filter { $0.contains("partitioner") } }
    #expect(told().count == 1 && told()[0].contains("does not answer") && told()[0].contains("murmur2"))
    rig.fakes.set(Self.id, .shifted(0))
    for _ in 0..<2 { _ = await rig.place() }
    #expect(told().count == 2 && told()[1].contains("answers again"))
    for round in 0..<20 {
      rig.fakes.set(Self.id, round % 2 == 0 ? .outOfRange : .shifted(0))
      _ = await rig.place()
    }
    #expect(told().count == 2)
    rig.time.advance(milliseconds: 10_000)
    rig.fakes.set(Self.id, .outOfRange)
    _ = await rig.place()
    #expect(told().count == 3)
    #expect(rig.placer.counts == PlacerCounts(calls: 28, records: 56, faults: 16, fallbackRecords: 32))
  }

  /// A quarantined instance is not asked again, and is gone; a new one takes its place.
  @Test func aQuarantinedInstanceIsReplaced() async throws {
    let rig = try await Rig(.fails(Fault(.pluginQuarantined, "three strikes")))
    for _ in 0..<2 {
      guard case .failure(let fault) = await rig.place() else {
        Issue.record("placed")
        return
      }
      #expect(fault.reason == .partitionerUnavailable && fault.metadata["cause"] == "PLUGIN_QUARANTINED")
    }
    #expect(rig.placer.problem?.reason == .pluginQuarantined && rig.fakes.live == 0)
    rig.fakes.set(Self.id, .shifted(0))
    rig.placer.recover(try await rig.fakes.load(Self.id, config: "{}", usedBy: "t"))
    #expect(try await rig.place().get().count == 2)
    #expect(rig.placer.problem == nil && rig.placer.counts.rejectedRecords == 4)
  }

  @Test func drainingWaitsForOpenCallsOrForTheStop() async throws {
    let rig = try await Rig(.held)
    await rig.placer.drained()
    let first = Task { await rig.place() }
    while rig.fakes.held == 0 { await Task.yield() }
    let partitioning = Partitioning(
      source: rig.fakes, time: rig.time, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    let drained = Task { await partitioning.drain(rig.placer) }
    rig.fakes.release()
    await drained.value
    #expect(try await first.value.get().count == 2)

    let second = Task { await rig.place() }
    while rig.fakes.held == 0 { await Task.yield() }
    let stopped = Task { await partitioning.drain(rig.placer) }
    partitioning.stop()
    await stopped.value
    rig.fakes.release()
    _ = await second.value
    // And a fence that waits for a disk that stands still.
    let ticket = FenceTicket(partitions: 1)
    let fenced = await fault { try await partitioning.fencing(ticket) { try await ticket.wait() } }
    #expect(fenced?.reason == .draining)
  }
}
