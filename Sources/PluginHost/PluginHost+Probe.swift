import CSkeinPlugin
import NIOCore
import PluginABI
package import PluginPackage
package import SkeinCore

/// Trying a plug-in before it is trusted with anything: always in a child of its own.
extension PluginHost {
  /// Calls of each kind.
  static let probeCalls = 1_000

  /// Loads it in a fresh child, makes an instance of each kind, makes 1,000 calls, and ends. The broker is not touched by
  /// whatever it does. A configuration that it refuses is told as such only if one was given: with none, a plug-in that
  /// needs one is tried no further than `create`.
  /// - Throws: `PLUGIN_PROBE_FAILED` with what happened, also if no child can be started; `PLUGIN_CONFIG_INVALID`.
  package func probe(_ artifact: VerifiedArtifact, config: String) async throws(Fault) -> ProbeReport {
    let reference = artifact.manifest.reference
    let image: SealedImage
    do throws(LoadRefusal) {
      image = try SealedImage(artifact.bytes, name: reference.description)
    } catch {
      throw probeFailure(reference, error.message)
    }
    let record = probeRecord(artifact)
    let child = makeChild(artifact, image, record, restarts: false)
    var outcome: Result<ProbeReport, Fault>
    do throws(Fault) {
      outcome = .success(try await tryOut(child, artifact, config))
    } catch {
      outcome = .failure(error)
    }
    await end(child)
    let status = record.status
    if case .success = outcome, let fault = status.faults.first(where: { $0.kind.isStrike }) {
      outcome = .failure(probeFailure(reference, "\(fault.kind.rawValue): \(fault.detail)"))
    }
    return try outcome.get()
  }

  private func tryOut(
    _ child: PluginChild, _ artifact: VerifiedArtifact, _ config: String
  ) async throws(Fault) -> ProbeReport {
    var report = ProbeReport()
    var notes: [String] = []
    for kind in artifact.manifest.kinds {
      switch await child.make(kind, config: config, usedBy: "probe") {
      case .success(let number):
        switch kind {
        case .partitioner:
          report.nanosecondsPerRecord = try await place(ChildPartitioner(child, number), artifact)
        case .authenticator: try await step(ChildAuthenticator(child, number))
        case .offsetStore: try await fetch(ChildOffsetStore(child, number))
        }
        report.calls += Self.probeCalls
      case .failure(.refused(check: "config", let why)):
        guard config.isEmpty || config == "{}" else {
          throw CallFailure.refusal(artifact.manifest.reference, "config", why)
        }
        notes.append("\(kind.word) wants a configuration: not called")
      case .failure(let failure):
        throw probeFailure(artifact.manifest.reference, Self.words(failure))
      }
    }
    let seen = await usage(of: child)
    report.startNanoseconds = seen.startNanoseconds
    report.loadNanoseconds = seen.loadNanoseconds
    report.residentBytes = seen.residentBytes
    report.landlock = seen.landlock
    notes.insert(
      "\(report.calls) calls, load \(report.loadNanoseconds / 1_000) us, \(seen.landlock > 0 ? "seccomp and Landlock" : "seccomp")",
      at: 0)
    report.detail = notes.joined(separator: "; ")
    return report
  }

  private func usage(of child: PluginChild) async -> ProbeReport {
    await withCheckedContinuation { continuation in
      child.loop.execute { continuation.resume(returning: child.startReport) }
    }
  }

  /// 1,000 batches of 100 records, at most 32 at a time, over topics of 1 to 10,000 partitions.
  /// - Returns: nanoseconds a record.
  private func place(_ partitioner: ChildPartitioner, _ artifact: VerifiedArtifact) async throws(Fault)
    -> Int64
  {
    let counts: [Int32] = [1, 2, 3, 7, 12, 100, 1_000, 10_000]
    let began = PluginClock.now
    for round in stride(from: 0, to: Self.probeCalls, by: 32) {
      let results = await withTaskGroup(of: Fault?.self) { group in
        for call in round..<min(round + 32, Self.probeCalls) {
          let batch = ProbeBatch.make(call, partitions: counts[call % counts.count], artifact.manifest)
          group.addTask { await Self.fault(of: partitioner, batch) }
        }
        return await group.reduce(into: []) { $0.append($1) }
      }
      if let fault = results.compactMap({ $0 }).first {
        throw probeFailure(partitioner.reference, fault.message)
      }
    }
    return (PluginClock.now - began) / Int64(Self.probeCalls * ProbeBatch.records)
  }

  private static func fault(of partitioner: ChildPartitioner, _ batch: PlacementBatch) async -> Fault? {
    await withCheckedContinuation { continuation in
      partitioner.place(batch, on: partitioner.child.loop) { result in
        if case .failure(let fault) = result {
          continuation.resume(returning: fault)
        } else {
          continuation.resume(returning: nil)
        }
      }
    }
  }

  /// 1,000 credentials that nobody has: whatever it says of them, it says it once and in time.
  private func step(_ authenticator: ChildAuthenticator) async throws(Fault) {
    for call in 0..<Self.probeCalls {
      let fault = await withCheckedContinuation { (continuation: CheckedContinuation<Fault?, Never>) in
        authenticator.step(
          exchange: UInt64(call + 1), mechanism: "bearer", peer: PeerEvidence(),
          message: Array("probe-\(call)".utf8), deadline: .distantFuture, on: authenticator.child.loop
        ) { result in
          if case .failure(let fault) = result, fault.metadata["fault"] != nil {
            continuation.resume(returning: fault)
          } else {
            continuation.resume(returning: nil)
          }
        }
      }
      authenticator.end(exchange: UInt64(call + 1))
      if let fault { throw probeFailure(authenticator.reference, fault.message) }
    }
  }

  /// 1,000 fetches of nothing.
  private func fetch(_ store: ChildOffsetStore) async throws(Fault) {
    for _ in 0..<Self.probeCalls {
      let fault = await withCheckedContinuation { (continuation: CheckedContinuation<Fault?, Never>) in
        store.ask(.fetch, [], deadline: .distantFuture, on: store.child.loop) { result in
          if case .failure(let fault) = result, fault.metadata["fault"] != nil {
            continuation.resume(returning: fault)
          } else {
            continuation.resume(returning: nil)
          }
        }
      }
      if let fault { throw probeFailure(store.reference, fault.message) }
    }
  }

  private func probeFailure(_ reference: PluginReference, _ why: String) -> Fault {
    Fault(
      .pluginProbeFailed, "\(reference) was tried in a child process and failed: \(why). Ask its author",
      metadata: ["plugin": reference.description, "check": "probe"])
  }

  private static func words(_ failure: CallFailure) -> String {
    switch failure {
    case .fault(let kind, let detail): "\(kind.rawValue): \(detail)"
    case .unavailable(let why, _), .quarantined(let why), .refused(_, let why): why
    case .status(let status): "it answered with status \(status)"
    }
  }
}

/// What a probe places: keys of many shapes, some absent, some empty, some not UTF-8.
enum ProbeBatch {
  static let records = 100

  static func make(_ call: Int, partitions: Int32, _ manifest: Manifest) -> PlacementBatch {
    var lengths: [UInt32] = []
    var keys: [UInt8] = []
    for i in 0..<records {
      switch i % 10 {
      case 0: lengths.append(0)
      case 1: lengths.append(1)
      default:
        let key = [UInt8](repeating: UInt8(truncatingIfNeeded: call &* 31 &+ i), count: i % 40 + 1)
        lengths.append(UInt32(key.count + 1))
        keys += key
      }
    }
    let names = manifest.headers.count
    return PlacementBatch(
      topic: TopicID(high: 1, low: UInt64(call)), partitions: partitions,
      weights: call % 2 == 0 ? [] : (0..<partitions).map { UInt32($0 % 7 + 1) }, keyLengths: lengths,
      keys: SharedBytes(keys), headerNames: names,
      headerLengths: (0..<records * names).map { $0 % 3 == 0 ? 0 : 2 },
      headerValues: SharedBytes(
        [UInt8](repeating: 0x61, count: (0..<records * names).filter { $0 % 3 != 0 }.count)),
      timestamps: manifest.needsTimestamps ? (0..<records).map { Int64(1_700_000_000_000 + $0) } : [])
  }
}
