import CSkeinPlugin
import Glibc
import Synchronization
import Testing

@testable import SkeinPluginKit

@Suite struct PartitionerTests {
  let plugin = ExportedPlugin.shared

  @Test func theEntrySaysWhatThePluginIs() throws {
    let table = plugin.plugin.pointee
    #expect(String(cString: table.id) == "org.skein.test")
    #expect(String(cString: table.version) == "1.2.0")
    #expect(table.size == 32 && table.abi_minor == SKEIN_ABI_MINOR)
    #expect(table.get("skein.partitioner/2") == nil)
    #expect(table.get(SKEIN_PARTITIONER) == table.get(SKEIN_PARTITIONER))
    // The host calls the entry once a file; a second call is no second plug-in.
    #expect(Plugin.export(nil, "org.skein.other", "2.0.0") == plugin.plugin)
    let partitioner = try plugin.table(SKEIN_PARTITIONER, skein_partitioner.self)
    #expect(partitioner.size == 40 && partitioner.flags == 0, "the test's partitioner is not pure")
    #expect(partitioner.ops.quiesce == nil)
  }

  @Test func everyColumnArrives() throws {
    let host = FakeHost()
    let table = try plugin.table(SKEIN_PARTITIONER, skein_partitioner.self)
    let made = ExportedPlugin.create(table.ops, host, config: #"{"answer": 1}"#)
    #expect(made.status == SKEIN_OK, "\(made.why)")

    let text = Array("kkhhhh".utf8)
    text.withUnsafeBufferPointer { text in
      func bytes(_ from: Int, _ count: Int) -> skein_bytes {
        skein_bytes(ptr: text.baseAddress.map { $0 + from }, len: count)
      }
      let keys = [bytes(0, 2), skein_bytes(), bytes(0, 0)]
      let headers = [bytes(2, 3), bytes(2, 4), skein_bytes(), skein_bytes(), bytes(2, 0), bytes(2, 1)]
      let timestamps: [Int64] = [3, 4, 5]
      let weights: [UInt32] = [9, 2]
      var topic = skein_topic(
        size: 32, partitions: 2, weights: nil, id: (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
      keys.withUnsafeBufferPointer { keys in
        headers.withUnsafeBufferPointer { headers in
          timestamps.withUnsafeBufferPointer { timestamps in
            weights.withUnsafeBufferPointer { weights in
              var records = skein_records()
              records.size = 40
              records.count = 3
              records.keys = keys.baseAddress
              var out: [Int32] = [-9, -9, -9]
              table.batch(made.instance, &topic, &records, &out)
              #expect(out == [3, -1, 1], "without headers, timestamps and weights")
              records.header_names = 2
              records.headers = headers.baseAddress
              records.timestamps = timestamps.baseAddress
              topic.weights = weights.baseAddress
              table.batch(made.instance, &topic, &records, &out)
              #expect(out == [23_433, -1, 25_101])
            }
          }
        }
      }
    }
    table.ops.destroy(made.instance)
    host.state.withLock { state in
      #expect(state.lines == ["2 made"])
      #expect(state.metrics == ["0 seen bytes"])
      #expect(state.recorded == [1: 4])
    }
  }

  @Test(arguments: [
    (#"{"answer": "x"}"#, "answer is not a"), (#"{}"#, "answer is missing"),
    (#"{"answer": 1, "pool": {"size": []}}"#, "pool.size is not a"), ("{", "configuration"),
    (#"{"answer": -4}"#, "answer is -4: give 0 or more"),
  ])
  func aConfigurationOfNoUseIsNamed(config: String, expected: String) throws {
    let table = try plugin.table(SKEIN_PARTITIONER, skein_partitioner.self)
    let made = ExportedPlugin.create(table.ops, FakeHost(), config: config)
    #expect(made.status == SKEIN_BAD_CONFIG)
    #expect(made.why.contains(expected), "\(made.why)")
    #expect(made.instance == nil)
  }

  /// The memory of reasons is bounded, and yet each says its own (63 later ones leave it as it is).
  @Test func everyRefusalSaysWhy() throws {
    let table = try plugin.table(SKEIN_PARTITIONER, skein_partitioner.self)
    for number in 1...500 {
      let made = ExportedPlugin.create(table.ops, .plain, config: #"{"answer": -\#(number)}"#)
      #expect(made.why.contains("answer is -\(number):"))
    }
  }

  /// A host that is older than we are has shorter tables; here they end at the end of mapped memory.
  @Test func aShorterTableIsNotReadPastItsEnd() throws {
    let page = sysconf(Int32(_SC_PAGESIZE))
    let memory = try #require(mmap(nil, page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    try #require(mprotect(memory + page, page, PROT_NONE) == 0)
    let short = memory + page - 16  // size, abi_minor, ctx; no get
    short.storeBytes(of: 16, as: UInt32.self)
    let host = Host(UnsafePointer(short.assumingMemoryBound(to: skein_host.self)))
    #expect(!host.canComplete)
    host.write(0, level: 0, "nobody hears it")
    #expect(host.lookup(0, "x") == nil)
    munmap(memory, page * 2)
  }

  @Test func aHostWithoutServicesIsEnough() throws {
    let table = try plugin.table(SKEIN_PARTITIONER, skein_partitioner.self)
    let made = ExportedPlugin.create(table.ops, FakeHost(services: []), config: #"{"answer": 1}"#)
    #expect(made.status == SKEIN_OK)
    table.ops.destroy(made.instance)
  }

  @Test func theHarnessPlacesAsAHostDoes() throws {
    let harness = try PartitionerHarness(TablePartitioner.self, config: #"{"answer": 1}"#)
    let items: [PartitionerHarness<TablePartitioner>.Item] = [
      .init(key: "kk", headers: ["hhh", "hhhh"], timestamp: 3),
      .init(key: nil, headers: [nil, nil], timestamp: 4),
      .init(key: "", headers: ["", "h"], timestamp: 5),
    ]
    #expect(harness.place(items, partitions: 2, weights: [9, 2]) == [23_433, -1, 25_101])
    #expect(throws: PluginError.self) { try PartitionerHarness(TablePartitioner.self) }
  }
}

extension FakeHost {
  static let plain = FakeHost()
}
