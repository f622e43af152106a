import RecordFormat
import SkeinCore
import Synchronization

@testable import SkeinClient

/// A producer with real batches, a broker whose topic grows and gets other partitioners, and a network that loses
/// streams and delivers late.
///
/// The broker follows the protocol's order of checks: duplicate window, generation, sequences. It shares no code
/// with the producer's placing of records but murmur2. Its plug-ins are known to it alone; they put a key where
/// their generation says. Before some changes it has a fence: it takes nothing for a while (SWAP_IN_PROGRESS).
final class RepartitionWorld {
  struct Entry: Equatable {
    let number: Int
    let time: Int
  }

  private struct Partition {
    var log: [Entry] = []
    var lastSequence: Int32 = -1
    var recent: [(first: Int32, last: Int32, base: Int64)] = []
  }

  struct Sent {
    let key: UInt8?
    let explicit: Int32?
  }

  private enum Message {
    case batch(ProducerMachine.Sending)
    case question(AssignmentQuestion)
  }

  static let window = 5
  /// Ahead of the clock, so that pauses are over at once.
  private static var later: Int64 { SystemClock().monotonicNanoseconds + 60_000_000_000 }
  private let swaps: Bool
  let core: ProducerCore
  let topic: Int
  let random: SeededRandom
  private(set) var sent: [Sent] = []
  private var partitions: [Partition] = []
  private var generation: UInt32 = 1
  private var isPlugin = false
  private var isFenced = false
  private var time = 0
  private var wire: [Message] = []
  private var answers: [AssignmentAnswer] = []
  private var replies: [(UInt64, ProducerMachine.Answer)] = []
  private var delayed: [[ProducerMachine.Sending]] = []
  private var isConnected = false
  private(set) var refusals = 0
  private(set) var growths = 0
  private(set) var pluginSwaps = 0
  private(set) var builtInSwaps = 0
  private(set) var questions = 0
  /// Questions that were not answered with partitions, by reason.
  private(set) var questionRefusals: [String: Int] = [:]
  private(set) var fenced = 0
  /// Nothing was left when the flushes ended.
  private(set) var isFlushed: Bool?
  /// What each generation is, for the check: records say nothing of theirs.
  private(set) var misplaced: [String] = []

  /// The handler is wanted before the core exists.
  private final class Box: Sendable { let all = Mutex<[BatchDelivery]>([]) }
  private let box: Box

  /// - Parameter swaps: the partitioner changes too, from plug-in to plug-in and to murmur2 and back.
  init(seed: UInt64, codec: Codec = .none, swaps: Bool = false) throws {
    self.swaps = swaps
    random = SeededRandom(seed)
    let box = Box()
    self.box = box
    var configuration = ProducerConfiguration()
    configuration.linger = .zero
    configuration.deliveryDeadline = .seconds(1_000_000)
    configuration.batchBytes = 300
    // Small chunks; the records of a run fit in.
    configuration.bufferBytes = 32 * 1024
    configuration.compression = codec
    configuration.deliveryHandler = { delivery in box.all.withLock { $0.append(delivery) } }
    core = ProducerCore(configuration: try configuration.validated(), random: random)
    topic = core.register("t", partitioner: .builtIn(.murmur2), generation: 1, partitions: 2)
    partitions = [Partition(), Partition()]
  }

  var delivered: [BatchDelivery] { box.all.withLock { $0 } }
  func log(_ partition: Int) -> [Entry] { partitions[partition].log }
  var partitionCount: Int { partitions.count }

  // MARK: Steps

  func produce() throws {
    let number = sent.count
    let kind = random.below(10)
    let key: UInt8? = kind < 7 ? UInt8(random.below(6)) : nil
    // Explicit places are those that the producer knows.
    let explicit: Int32? = kind == 9 ? Int32(random.below(Int(core.partitionCount(topic)))) : nil
    sent.append(Sent(key: key, explicit: explicit))
    let value = Array(String(number).utf8)
    let keyBytes = key.map { [$0] } ?? []
    try value.withUnsafeBytes { value in
      try keyBytes.withUnsafeBytes { keyBytes in
        let record = RecordInput(
          key: key == nil ? nil : keyBytes, value: value, headers: .none, headerBytes: 0, timestamp: 5,
          partition: explicit, tag: UInt64(number))
        if random.chance(50) {
          _ = try core.append(record, topic: topic, front: core.front(topic))
        } else {
          _ = try core.append(record, topic: topic)
        }
      }
    }
  }

  func connect() {
    guard !isConnected else { return }
    isConnected = true
    core.streamOpened(producerID: 9, producerEpoch: 0, window: Self.window, limits: BatchLimits()) {}
  }

  func loseStream() {
    guard isConnected else { return }
    isConnected = false
    // What arrives all the same is appended; nobody hears of it.
    let batches = wire.compactMap { if case .batch(let sending) = $0 { sending } else { nil } }
    if !batches.isEmpty { delayed.append(batches) }
    wire = []
    replies = []
    answers = []
    core.streamLost()
  }

  func send() {
    guard isConnected else { return }
    let (_, asks) = core.pumpBegins()
    if asks, let question = core.nextQuestion(now: Self.later) { wire.append(.question(question)) }
    if let sending = core.nextSending() { wire.append(.batch(sending)) }
  }

  func brokerStep() throws {
    guard !wire.isEmpty else { return }
    switch wire.removeFirst() {
    case .batch(let sending): replies.append((sending.requestID, try append(sending)))
    case .question(let question): answers.append(answer(question))
    }
  }

  private func answer(_ question: AssignmentQuestion) -> AssignmentAnswer {
    questions += 1
    func refused(_ reason: Reason) -> AssignmentAnswer {
      questionRefusals[reason.name, default: 0] += 1
      return AssignmentAnswer(
        requestID: question.requestID, generation: generation, error: SkeinError(reason, "model"))
    }
    guard question.generation == generation, isPlugin else { return refused(.partitionerChanged) }
    if isFenced, random.chance(50) { return refused(.swapInProgress) }
    if random.chance(5) { return refused(.partitionerUnavailable) }
    var at = 0
    let keys = question.keys.array
    let places: [Int32] = question.keyLengths.map { length in
      guard length > 0 else { return -1 }
      defer { at += Int(length) - 1 }
      return place(key: keys[at])
    }
    return AssignmentAnswer(requestID: question.requestID, generation: generation, partitions: places)
  }

  /// Where the plug-in of this generation puts a key.
  private func place(key: UInt8) -> Int32 {
    Int32((Int(key) * 7 + Int(generation) * 3) % partitions.count)
  }

  func delayedStep() throws {
    guard !delayed.isEmpty else { return }
    let stream = random.below(delayed.count)
    let sending = delayed[stream].removeFirst()
    if delayed[stream].isEmpty { delayed.remove(at: stream) }
    _ = try append(sending)
  }

  func reply() {
    if !answers.isEmpty, replies.isEmpty || random.chance(50) {
      // Not even the order of the answers is relied on.
      core.assigned([answers.remove(at: random.chance(80) ? 0 : random.below(answers.count))])
    } else if !replies.isEmpty {
      core.answered([replies.removeFirst()])
    }
  }

  func grow() {
    growths += 1
    generation += 1
    partitions += Array(repeating: Partition(), count: 1 + random.below(2))
  }

  /// The fence goes up, or the change behind it is committed.
  func swap() {
    if !isFenced, random.chance(50) {
      isFenced = true
      return
    }
    isFenced = false
    generation += 1
    isPlugin = random.chance(70)
    if isPlugin { pluginSwaps += 1 } else { builtInSwaps += 1 }
  }

  /// What the housekeeper does: describes what the producer has asked about.
  func keepHouse() {
    for (index, _) in core.takeStaleTopics() {
      if random.chance(20) {
        core.refreshFailed(index, isGone: false)
      } else {
        core.refresh(
          index,
          TopicChange(
            partitioner: isPlugin ? .asked(AssignmentShape()) : .builtIn(.murmur2), generation: generation,
            partitions: Int32(partitions.count)))
      }
    }
    // Pauses are over at once, deadlines are far.
    core.tick(now: Self.later)
  }

  private func append(_ sending: ProducerMachine.Sending) throws -> ProducerMachine.Answer {
    var numbers: [Int] = []
    var reader = BatchReader()
    let header = try sending.payload.withUnsafeBytes { bytes in
      try reader.forEach(bytes) { record in
        numbers.append(
          Int(String(decoding: record.value ?? .init(start: nil, count: 0), as: UTF8.self)) ?? -1)
      }
    }
    let at = Int(sending.partition)
    let (first, last) = (header.baseSequence, header.lastSequence)
    if let known = partitions[at].recent.first(where: { $0.first == first && $0.last == last }) {
      return .appended(BatchAcknowledgement(baseOffset: known.base, isDuplicate: true))
    }
    if sending.generation != 0, sending.generation < generation {
      refusals += 1
      return .refused(SkeinError(.partitionerChanged, "the topic is at \(generation)"))
    }
    if isFenced {
      fenced += 1
      return .refused(SkeinError(.swapInProgress, "the fence is up"))
    }
    guard first == partitions[at].lastSequence + 1 else {
      return .refused(
        SkeinError(partitions[at].lastSequence < 0 ? .unknownProducer : .outOfOrderSequence, "gap"))
    }
    let base = Int64(partitions[at].log.count)
    for number in numbers where isPlugin {
      guard sent[number].explicit == nil, let key = sent[number].key, place(key: key) != sending.partition
      else {
        continue
      }
      misplaced.append("record \(number) of key \(key) in \(sending.partition), generation \(generation)")
    }
    for number in numbers {
      time += 1
      partitions[at].log.append(Entry(number: number, time: time))
    }
    partitions[at].lastSequence = last
    partitions[at].recent.append((first, last, base))
    if partitions[at].recent.count > Self.window { partitions[at].recent.removeFirst() }
    return .appended(BatchAcknowledgement(baseOffset: base, isDuplicate: false))
  }

  // MARK: Schedules

  func step() throws {
    if !isConnected, random.chance(30) { connect() }
    if random.chance(1) { loseStream() }
    if random.chance(1) { grow() }
    if swaps, random.chance(2) { swap() }
    switch random.below(7) {
    case 0, 1: try produce()
    case 2, 3: send()
    case 4: try brokerStep()
    case 5: reply()
    default: if random.chance(30) { try delayedStep() } else { keepHouse() }
    }
  }

  /// The network is sound again: everything is answered.
  func settle() throws {
    var idle = 0
    if isFenced { swap() }
    while core.hasOutstanding, core.failure == nil, idle < 20_000 {
      idle += 1
      connect()
      send()
      try brokerStep()
      reply()
      keepHouse()
      if isFlushed == nil, !core.isFlushing { isFlushed = !core.hasOutstanding }
    }
    while !delayed.isEmpty { try delayedStep() }
  }
}
