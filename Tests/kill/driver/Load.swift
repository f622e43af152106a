import SkeinClient

/// One idempotent producer that writes numbered records to all partitions, in turn, until stopped.
struct Load {
  let client: Client
  let number: Int
  let seed: UInt64
  let rate: Int
  let ledger: Ledger

  func run() async throws {
    var configuration = ProducerConfiguration()
    configuration.batchBytes = 16 * 1024
    configuration.bufferBytes = 1024 * 1024
    configuration.linger = .milliseconds(2)
    let (number, ledger) = (self.number, self.ledger)
    configuration.deliveryHandler = { delivery in
      switch delivery.result {
      case .success(let acknowledgement):
        ledger.acknowledge(
          number, Int(delivery.partition), tags: delivery.tags, baseOffset: acknowledgement.baseOffset)
      case .failure(let error): ledger.giveUp("producer \(number), partition \(delivery.partition): \(error)")
      }
    }
    do {
      let producer = try await client.producer(configuration)
      try await send(to: try await producer.topic(Trial.topic))
      try await producer.close()
    } catch let error as SkeinError {
      // The producer's own last word (P10). Whether that breaks the promise, Check decides.
      ledger.giveUp("producer \(number): \(error)")
    }
  }

  private func send(to topic: ProducerTopic) async throws {
    var sequences = Array(repeating: UInt64(0), count: Int(topic.partitionCount))
    let burst = max(1, rate / 100)
    var partition = number % sequences.count
    while !ledger.isStopped {
      for _ in 0..<burst {
        partition = (partition + 1) % sequences.count
        let sequence = sequences[partition]
        let value = Payload.bytes(producer: number, partition: partition, sequence: sequence, seed: seed)
        // Counted before it is handed over: a record may be stored even if `append` throws.
        ledger.sent(number, partition, upTo: sequence + 1)
        sequences[partition] += 1
        try await topic.append(
          key: Array(value.prefix(4)), value: value, partition: Int32(partition), tag: sequence)
      }
      try await Task.sleep(for: .milliseconds(10))
    }
  }
}

/// A reader that follows the topic through all the kills. What it saw must still be there at the end:
/// nothing is served before it is durable.
struct Observer {
  let client: Client
  let ledger: Ledger

  func run() async {
    do {
      let reader = try await client.reader(topic: Trial.topic, from: .beginning)
      while let batch = try await reader.nextBatch() {
        let seen = try batch.records().map { record in
          (record.offset, Payload.fnv((record.value ?? [])[...]))
        }
        ledger.observe(Int(batch.partition), seen.map { (offset: $0.0, hash: $0.1) })
      }
    } catch is CancellationError {
    } catch let error as SkeinError where error.reason == "CANCELLED" {
    } catch {
      ledger.endObservation("\(error)")
    }
  }
}
