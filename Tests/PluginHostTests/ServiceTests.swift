import CSkeinPlugin
import Glibc
import PluginABI
import Testing

@testable import PluginHost

/// The host's services and the pure parts of the supervisor.
@Suite struct ServiceTests {
  /// A table of an older header ends where the next page begins: nothing behind it is read, what is missing is nil.
  @Test func aShortTableAtAPagesEndIsAdopted() throws {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let memory = try #require(mmap(nil, page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    defer { munmap(memory, page * 2) }
    mprotect(memory + page, page, PROT_NONE)
    let short = 32
    let table = memory + page - short
    table.storeBytes(of: UInt32(short), as: UInt32.self)
    table.storeBytes(of: UInt32(1), toByteOffset: 4, as: UInt32.self)
    let adopted = adopt(table, zero: skein_partitioner())
    #expect(adopted.size == 32)
    #expect(adopted.flags == 1)
    #expect(adopted.batch == nil)
    // And one that grew: what we do not know is left.
    let long = UnsafeMutableRawPointer.allocate(byteCount: 256, alignment: 16)
    defer { long.deallocate() }
    long.initializeMemory(as: UInt8.self, repeating: 0xff, count: 256)
    long.storeBytes(of: UInt32(256), as: UInt32.self)
    #expect(adopt(long, zero: skein_topic()).size == 256)
  }

  @Test func aCallIsCompletedOnce() {
    let calls = CallTable()
    calls.begin(1)
    calls.begin(2)
    #expect(calls.complete(1, status: 0, resultLength: 0))
    #expect(!calls.complete(1, status: 0, resultLength: 0))
    calls.abandon(2)
    #expect(calls.isCancelled(2))
    #expect(!calls.complete(2, status: 0, resultLength: 0))
    #expect(!calls.complete(9, status: 0, resultLength: 0))
    #expect(!calls.complete(0, status: 0, resultLength: 0))
    let counts = calls.counts
    #expect(counts.completed == 1)
    #expect(counts.double == 1)
    #expect(counts.late == 1)
    #expect(counts.unknown == 2)
    calls.begin(3)
    #expect(calls.cancel(3))
    #expect(calls.isCancelled(3))
    #expect(calls.complete(3, status: 2, resultLength: 0), "a cancelled call may still be completed")
  }

  @Test func theLogIsBoundedInLinesAndLength() throws {
    let ring = LogRing()
    let long = [UInt8](repeating: 0x61, count: 10_000)
    var taken = 0
    for i in 0..<200 {
      if long.withUnsafeBytes({ ring.write(instance: UInt64(i), level: 1, message: $0) }) { taken += 1 }
    }
    #expect(taken == 64)
    #expect(ring.dropped == 136)
    let first = try #require(ring.next())
    #expect(first.instance == 0)
    #expect(first.message.utf8.count == 4_096)
    var rest = 0
    while ring.next() != nil { rest += 1 }
    #expect(rest == 63)
    // Room again, but not more than 100 lines in this second (200 were tried).
    #expect(!long.withUnsafeBytes { ring.write(instance: 1, level: 1, message: $0) })
  }

  @Test func seriesAreBoundedAndNamed() {
    let table = MetricTable()
    #expect(table.define(instance: 1, kind: 0, name: "Bad Name", unit: "") == 0)
    #expect(table.define(instance: 1, kind: 0, name: "a", unit: "furlongs") == 0)
    #expect(table.define(instance: 1, kind: 7, name: "a", unit: "") == 0)
    let ids = (0..<33).map { table.define(instance: 1, kind: 0, name: "m\($0)", unit: "") }
    #expect(ids.prefix(32).allSatisfy { $0 > 0 })
    #expect(ids[32] == 0)
    let histogram = table.define(instance: 2, kind: 2, name: "h", unit: "seconds")
    for value in [0.5e-6, 0.5, 1e9, -.infinity] { table.record(histogram, value) }
    table.record(ids[0], 2)
    table.record(ids[0], -5)
    table.record(0, 1)
    table.record(.max, 1)
    let samples = table.samples()
    #expect(samples.first?.value == 2)
    #expect(samples.last?.count == 3)
    #expect(samples.last?.buckets.first == 1)
    #expect(samples.last?.buckets.last == 1)
    table.forget(instance: 1)
    #expect(table.samples().count == 1)
    table.record(ids[0], 2)
    #expect(table.define(instance: 3, kind: 0, name: "n", unit: "") > 0)
    #expect(table.samples().first { $0.name == "n" }?.value == 0)
  }

  @Test func servicesThatAreNotOfferedAreNull() {
    let services = HostServices(offered: [SKEIN_HOST_LOG])
    let host = services.pointer.pointee
    #expect(host.get(host.ctx, SKEIN_HOST_LOG) != nil)
    #expect(host.get(host.ctx, SKEIN_HOST_ASYNC) == nil)
    #expect(host.get(host.ctx, "skein.host.log/2") == nil)
  }

  @Test func strikesBackoffAndBreaker() {
    var ledger = StrikeLedger(limit: 3, windowSeconds: 600)
    let second: Int64 = 1_000_000_000
    let strikes = [0, 599, 600, 601].map { ledger.strike(at: $0 * second) }
    // The first one is forgotten when the third comes.
    #expect(strikes == [false, false, false, true])
    let left = ledger.count(at: 3_000 * second)
    #expect(left == 0)

    var backoff = Backoff(10...30_000)
    let waits = (0..<14).map { _ in backoff.wait() }
    #expect(
      waits == [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_120, 10_240, 20_480, 30_000, 30_000])
    backoff.succeeded()
    let first = backoff.wait()
    #expect(first == 10)

    var breaker = CircuitBreaker()
    for _ in 0..<5 { breaker.failed(at: 0) }
    // Closed for a second; then one may try and the others wait for it.
    let refusals = [breaker.admit(at: 0), breaker.admit(at: 2 * second), breaker.admit(at: 2 * second)]
    #expect(refusals == [1_001, nil, 100])
    breaker.failed(at: 2 * second)
    let again = [breaker.admit(at: 3 * second), breaker.admit(at: 5 * second)]
    #expect(again == [1_001, nil])
    breaker.succeeded()
    let served = [breaker.admit(at: 5 * second), breaker.admit(at: 5 * second)]
    #expect(served == [nil, nil])
  }

  @Test func quarantineFilesComeBackOrAreRefused() {
    let entry = Quarantine.Entry(
      sha256: String(repeating: "ab", count: 32), plugin: "com.acme.x@1.0.0", why: "3 strikes \"\n",
      atMilliseconds: 5, isQuarantined: true, isChildOnly: false)
    let bytes = Quarantine.encode(entry)
    #expect(Quarantine.decode(bytes) == entry)
    for cut in 0..<bytes.count - 1 { #expect(Quarantine.decode(Array(bytes[..<cut])) == nil) }
    #expect(Quarantine.decode(Array("{\"sha256\": \"../../etc\"}".utf8)) == nil)
  }

  @Test func rangeOfAnswers() {
    func wrong(_ answers: [Int32]) -> Int {
      answers.withUnsafeBufferPointer { PlacementColumns.outOfRange($0, partitions: 8) }
    }
    #expect(wrong([-1, 0, 7]) == 0)
    #expect(wrong([8, -2, .min, .max, 3]) == 4)
  }
}
