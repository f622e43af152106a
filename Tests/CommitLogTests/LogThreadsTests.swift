import CommitLog
import DiskIO
import RecordFormat
import SkeinCore
import Synchronization
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Real threads on real files: homes append and read, a flusher, a write-behind thread, an I/O thread.
/// ThreadSanitizer does not know `Synchronization.Mutex` and reports every access under one; read its
/// reports only for accesses outside `withLock`.
@Suite struct LogThreadsTests {
  @Test func everyRecordIsReadInOrderWhileAllThreadsRun() throws {
    let folder = try TemporaryFolder()
    let harness = try LogHarness(disk: FileDisk(root: folder.path)) {
      $0.tailBudgetBytes = 32 << 10
      $0.writeBehindBytes = 8 << 10
      $0.writeRunBytes = 8 << 10
      $0.maxOpenFiles = 2
      $0.bulkSyncAbove = 3
    }
    var settings = PartitionSettings()
    settings.segmentBytes = 20_000
    let run = ThreadedRun(directory: harness.directory, settings: settings)
    run.start()
    run.join()
    #expect(run.failures.withLock { $0 } == [])
    for partition in 0..<ThreadedRun.partitions {
      #expect(run.readEnds[partition].load(ordering: .relaxed) == ThreadedRun.batches * 2)
    }
    _ = try harness.directory.close()
    #expect(harness.directory.unwrittenBytes == 0)
  }
}

/// `@unchecked Sendable`: everything mutable in it is atomic or behind a mutex; each home thread owns
/// its partition's log.
private final class ThreadedRun: @unchecked Sendable {
  static let partitions = 3
  static let batches = 600

  let directory: LogDirectory
  let logs: [PartitionLog]
  let failures = Mutex<[String]>([])
  let readEnds = [Boxed(), Boxed(), Boxed()]
  private let advances = Mutex<[[DurableAdvance]]>(Array(repeating: [], count: partitions))
  private let plans = Mutex<[(Int, FileRead)]>([])
  private let results = Mutex<[(Int, FileReadResult)]>([])
  private let homesLeft = Atomic<Int>(partitions)
  private var threads: [pthread_t] = []

  final class Boxed: Sendable {
    let value = Atomic<Int>(0)
    func load(ordering: AtomicLoadOrdering) -> Int { value.load(ordering: .relaxed) }
  }

  init(directory: LogDirectory, settings: PartitionSettings) {
    self.directory = directory
    logs = (0..<Self.partitions).map {
      directory.createPartition(
        TopicPartition(topic: LogHarness.topic, partition: Int32($0)), settings: settings)
    }
  }

  func start() {
    for partition in 0..<Self.partitions { spawn { try self.home(partition) } }
    spawn {
      while self.isRunning {
        let made = try self.directory.flushStep()
        if made.isEmpty { usleep(100) }
        for advance in made { self.advances.withLock { $0[Int(advance.log.key.partition)].append(advance) } }
      }
    }
    spawn {
      while self.isRunning {
        if try !self.directory.writeBehindStep() {
          usleep(200)
          _ = try self.directory.maintenanceStep()
        }
      }
    }
    spawn {
      while self.isRunning {
        guard let (partition, plan) = self.plans.withLock({ $0.popLast() }) else {
          usleep(100)
          continue
        }
        let result = try self.directory.read(plan)
        self.results.withLock { $0.append((partition, result)) }
      }
    }
  }

  func join() { for thread in threads { pthread_join(thread, nil) } }

  private var isRunning: Bool {
    homesLeft.load(ordering: .relaxed) > 0 && failures.withLock { $0.isEmpty }
  }

  private func spawn(_ body: @escaping @Sendable () throws -> Void) {
    let box = Unmanaged.passRetained(
      Body { [self] in
        do { try body() } catch { failures.withLock { $0.append("\(error)") } }
      })
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { argument in
        argument.map { Unmanaged<Body>.fromOpaque($0).takeRetainedValue().run() }
        return nil
      }, box.toOpaque())
    threads.append(thread)
  }

  private final class Body {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }

  // MARK: A home executor

  private func home(_ partition: Int) throws {
    defer { homesLeft.subtract(1, ordering: .relaxed) }
    let log = logs[partition]
    var appended = 0
    var next = Offset.zero
    var isReading = false
    while next.rawValue < Int64(Self.batches * 2), isRunning {
      for advance in advances.withLock({ list in
        defer { list[partition] = [] }
        return list[partition]
      }) { log.apply(advance) }
      if appended < Self.batches { appended += try append(log, appended) ? 1 : 0 } else { usleep(50) }
      if isReading {
        guard let result = takeResult(partition) else { continue }
        isReading = false
        try check(result.batches, from: next)
        next = result.next
      } else {
        switch try log.read(from: next, maxBytes: 3000) {
        case .atEnd: break
        case .memory(let batches, let after):
          try check(batches, from: next)
          next = after
        case .file(let plan):
          plans.withLock { $0.append((partition, plan)) }
          isReading = true
        }
      }
      readEnds[partition].value.store(Int(next.rawValue), ordering: .relaxed)
    }
  }

  private func takeResult(_ partition: Int) -> FileReadResult? {
    results.withLock { list in
      list.firstIndex { $0.0 == partition }.map { list.remove(at: $0).1 }
    }
  }

  private func append(_ log: PartitionLog, _ index: Int) throws -> Bool {
    let batch = try TestBatch(["\(index * 2)" + String(repeating: "y", count: 100), "\(index * 2 + 1)"])
    do throws(Fault) {
      guard case .appended(_, _, let entry) = try log.append(batch.bytes, header: batch.header) else {
        return false
      }
      directory.submit([entry])
      return true
    } catch {
      if error.reason == .overloaded { return false }
      throw error
    }
  }

  private func check(_ batches: [SharedBytes], from: Offset) throws {
    var expected = from.rawValue
    for value in try batches.flatMap({ try LogHarness.values($0, from: from) }) {
      guard value.hasPrefix("\(expected)") else { throw TestFailure("\(value.prefix(8)) at \(expected)") }
      expected += 1
    }
  }
}
