import SkeinCore

@testable import SkeinClient

/// What a batch is in the tests: its base sequence, then the numbers of its records.
enum ModelBatch {
  static func encode(sequence: Int32, records: [UInt64]) -> SharedBytes {
    var bytes: [UInt8] = []
    withUnsafeBytes(of: sequence) { bytes += $0 }
    for record in records { withUnsafeBytes(of: record) { bytes += $0 } }
    return SharedBytes(bytes)
  }

  static func decode(_ batch: SharedBytes) -> (sequence: Int32, records: [UInt64]) {
    batch.withUnsafeBytes { bytes in
      let sequence = bytes.loadUnaligned(as: Int32.self)
      let records = stride(from: 4, to: bytes.count, by: 8).map {
        bytes.loadUnaligned(fromByteOffset: $0, as: UInt64.self)
      }
      return (sequence, records)
    }
  }

  @Sendable static func resequence(_ batch: SharedBytes, _ sequence: Int32) -> SharedBytes {
    encode(sequence: sequence, records: decode(batch).records)
  }
}

/// One partition of a broker by the rules P3-P6, and nothing else.
struct ModelPartition {
  static let window = 5
  /// Records as appended: the index is the offset.
  var log: [UInt64] = []
  private var lastSequence: Int32?
  private var recent: [(first: Int32, last: Int32, base: Int)] = []

  mutating func forget() {
    lastSequence = nil
    recent = []
  }

  mutating func append(_ batch: SharedBytes) -> ProducerMachine.Answer {
    let (first, records) = ModelBatch.decode(batch)
    let last = ProducerMachine.advance(first, by: Int32(records.count - 1))
    if let known = recent.first(where: { $0.first == first && $0.last == last }) {
      return .appended(BatchAcknowledgement(baseOffset: Int64(known.base), isDuplicate: true))
    }
    if let lastSequence {
      guard first == ProducerMachine.advance(lastSequence, by: 1) else {
        return .refused(SkeinError(.outOfOrderSequence, "gap"))
      }
    } else if first != 0 {
      return .refused(SkeinError(.unknownProducer, "no state"))
    }
    let base = log.count
    log += records
    lastSequence = last
    recent.append((first, last, base))
    if recent.count > Self.window { recent.removeFirst() }
    return .appended(BatchAcknowledgement(baseOffset: Int64(base), isDuplicate: false))
  }
}

/// A machine, a broker, and a network that loses streams, delays what was on them, and refuses.
///
/// Messages of a lost stream may be appended later still, in their order: the broker had them.
struct ProducerWorld {
  struct Faults {
    var streamLoss = 2
    var overloaded = 5
    var offline = 2
    var forgets = 0
    /// Per cent of batches that the broker refuses for good.
    var tooLarge = 0
  }

  typealias Message = (id: UInt64, lane: Int, payload: SharedBytes)

  var machine: ProducerMachine
  var partitions: [ModelPartition]
  let random: SeededRandom
  let faults: Faults
  var now: Int64 = 0
  private var wire: [Message] = []
  private var replies: [(UInt64, ProducerMachine.Answer)] = []
  private var delayed: [[Message]] = []
  private var nextRecord: UInt64 = 1
  private var refusedForGood: Set<UInt64> = []
  var numbers: UInt64 = 0
  /// Records per batch number, and how the batch ended.
  var sent: [UInt64: (lane: Int, records: [UInt64])] = [:]
  var ended: [UInt64: Result<BatchAcknowledgement, SkeinError>] = [:]
  var endedTwice = false

  init(seed: UInt64, lanes: Int, faults: Faults) {
    random = SeededRandom(seed)
    self.faults = faults
    machine = ProducerMachine(random: random, resequence: ModelBatch.resequence)
    partitions = Array(repeating: ModelPartition(), count: lanes)
    for lane in 0..<lanes { _ = machine.addLane(topic: "t", partition: Int32(lane)) }
  }

  mutating func produce() {
    guard machine.failure == nil else { return }
    let lane = random.below(partitions.count)
    let count = 1 + random.below(3)
    let records = (0..<count).map { nextRecord + UInt64($0) }
    nextRecord += UInt64(count)
    if random.chance(faults.tooLarge), let first = records.first { refusedForGood.insert(first) }
    numbers += 1
    sent[numbers] = (lane, records)
    let sequence = machine.reserveSequence(lane: lane, count: Int32(count))
    machine.enqueue(
      OutboundBatch(
        payload: ModelBatch.encode(sequence: sequence, records: records), baseSequence: sequence,
        recordCount: Int32(count), chargedBytes: 1, deadline: .max, generation: 0, number: numbers,
        ticket: BatchTicket()), lane: lane)
  }

  mutating func book(_ completions: [ProducerMachine.Completion]) {
    for completion in completions {
      if ended.updateValue(completion.result, forKey: completion.batch.number) != nil { endedTwice = true }
    }
  }

  mutating func connect() { machine.streamOpened(window: ModelPartition.window) }

  mutating func loseStream() {
    if !wire.isEmpty { delayed.append(wire) }
    wire = []
    replies = []
    book(machine.streamLost())
  }

  /// The broker handles one message of the stream.
  mutating func brokerStep() {
    guard !wire.isEmpty else { return }
    let message = wire.removeFirst()
    replies.append((message.id, answer(message)))
  }

  private mutating func answer(_ message: Message) -> ProducerMachine.Answer {
    if random.chance(faults.overloaded) { return .refused(SkeinError(.overloaded, "full")) }
    let first = ModelBatch.decode(message.payload).records.first ?? 0
    if refusedForGood.contains(first) { return .refused(SkeinError(.batchTooLarge, "too large")) }
    if random.chance(faults.offline) {
      if random.chance(50) { _ = partitions[message.lane].append(message.payload) }
      return .refused(SkeinError(.logOffline, "I/O error"))
    }
    return partitions[message.lane].append(message.payload)
  }

  /// One message of a lost stream is handled at last; nobody hears the answer.
  mutating func delayedStep() {
    guard !delayed.isEmpty else { return }
    let stream = random.below(delayed.count)
    let message = delayed[stream].removeFirst()
    if delayed[stream].isEmpty { delayed.remove(at: stream) }
    _ = answer(message)
  }

  mutating func reply() {
    guard !replies.isEmpty else { return }
    let (id, answer) = replies.removeFirst()
    book(machine.answered(id, answer, now: now).completions)
  }

  mutating func send() {
    guard let sending = machine.nextSending() else { return }
    wire.append((sending.requestID, sending.lane, sending.payload))
  }

  /// A broker that forgets idle producers does so long after the last message (P9).
  mutating func forget() {
    guard wire.isEmpty, replies.isEmpty, delayed.isEmpty, machine.outstanding == 0 else { return }
    for lane in partitions.indices { partitions[lane].forget() }
  }

  mutating func step() {
    now += 1_000_000
    if !machine.isConnected, random.chance(30) { connect() }
    if machine.isConnected, random.chance(faults.streamLoss) { loseStream() }
    switch random.below(6) {
    case 0: produce()
    case 1, 2: send()
    case 3: brokerStep()
    case 4: reply()
    default: if random.chance(30) { delayedStep() }
    }
    if random.chance(faults.forgets) { forget() }
    book(machine.tick(now: now))
  }

  /// No more faults of the network: everything is answered.
  mutating func settle() {
    var idle = 0
    while machine.outstanding > 0, machine.failure == nil, idle < 100_000 {
      idle += 1
      now += 10_000_000
      if !machine.isConnected { connect() }
      send()
      brokerStep()
      reply()
      book(machine.tick(now: now))
    }
    while !delayed.isEmpty { delayedStep() }
  }
}
