import Logging
import SkeinCore
import Wire

/// Looks at a new partitioner for a while, and goes back when it is bad. Runs on the admin queue.
struct SwapWatch: Sendable {
  /// Between two looks. Each is a lock and a few numbers.
  private static let pause = Duration.milliseconds(50)

  let context: BrokerContext
  let claim: SwapClaim
  let listener: SwapListener
  /// Of the fullest partition, as the diff said; nil: skew is not judged.
  let expectedShare: Double?

  private enum End {
    case good
    case replaced
    case deleted
    case stopping
    case rolledBack(Topic, why: String)
  }

  /// Until `watchedUntilMilliseconds` of the generation in force.
  func run(_ committed: Topic) async {
    let left = committed.current.watchedUntilMilliseconds - context.time.wallMilliseconds
    guard committed.current.watchedUntilMilliseconds > 0 else {
      context.partitioning.cool(committed.id)
      listener.tell(.done, committed.generation)
      return listener.end(nil)
    }
    claim.beginWatch()
    listener.tell(.watching, committed.generation)
    let end = await watch(committed, nanoseconds: min(max(0, left), Swap.longestWatch) * 1_000_000)
    report(end, committed)
  }

  private func watch(_ committed: Topic, nanoseconds: Int64) async -> End {
    let policy = WatchPolicy(expectedShare: expectedShare)
    let deadline = context.time.monotonicNanoseconds + nanoseconds
    var toldProblem = false
    while context.time.monotonicNanoseconds < deadline {
      if context.partitioning.isStopping { return .stopping }
      if claim.isSuperseded { return .replaced }
      guard let topic = try? context.registry.topic(committed.name, of: committed.tenant),
        topic.id == committed.id
      else { return .deleted }
      // More partitions make another generation of the same plug-in: it is watched on.
      if let placer = context.partitioning.placer(of: topic), let window = placer.watch,
        let why = policy.breach(window)
      {
        guard claim.endWatch() else { return .replaced }
        do {
          return .rolledBack(try await rollBack(topic, why), why: why)
        } catch {
          if !toldProblem {
            context.logger.error(
              "the partitioner is bad, and could not be rolled back",
              metadata: ["topic": "\(topic.name)", "why": "\(why)", "error": "\(error)"])
          }
          toldProblem = true
          claim.beginWatch()
        }
      }
      try? await Task.sleep(for: Self.pause)
    }
    return .good
  }

  /// Generation g+2 with the binding of g; fenced when g+1 came with a fence.
  private func rollBack(_ topic: Topic, _ why: String) async throws -> Topic {
    var next = try Swap.rollback(of: topic)
    next.reason = String(why.prefix(500))
    let loaded = try await Swap.load(&next, topic, context)
    return try await SwapCommit(context: context, listener: .nobody(context.time)).carryOut(
      Swap.Prepared(
        base: topic, next: next, loaded: loaded, isFenced: topic.current.isFenced, watchMilliseconds: 0))
  }

  private func report(_ end: End, _ committed: Topic) {
    let counts = context.partitioning.counts
    switch end {
    case .good:
      counts.done.add(1)
      context.partitioning.cool(committed.id)
      context.logger.notice(
        "partitioner watched to the end: nothing was wrong",
        metadata: ["topic": "\(committed.name)", "generation": "\(committed.generation)"])
      listener.tell(.done, committed.generation)
      listener.end(nil)
    case .rolledBack(let topic, let why):
      counts.rolledBack.add(1)
      context.partitioning.cool(committed.id)
      context.logger.error(
        "partitioner rolled back",
        metadata: [
          "topic": "\(topic.name)", "generation": "\(topic.generation)", "why": "\(why)",
          "restores": "\(topic.current.rollsBackTo)",
        ])
      listener.tell(.rolledBack, topic.generation) { progress in
        progress.rolledBackTo = topic.current.rollsBackTo
        progress.problem = Fault(.pluginFault, why, metadata: ["topic": topic.name]).status
      }
      listener.end(nil)
    case .replaced:
      listener.end(
        Fault(
          .conflict, "somebody rolled topic \"\(committed.name)\" back while it was watched",
          metadata: ["topic": committed.name]))
    case .deleted:
      context.partitioning.cool(committed.id)
      listener.end(TopicRegistry.notFound(committed.name))
    case .stopping:
      listener.end(
        Fault(.draining, "the broker is stopping; its next start goes on with the watch"))
    }
  }
}

extension BrokerContext {
  /// At the start: makes the instances of all topics, and goes on with watches. What cannot be loaded does not
  /// stop the broker: its topics have their fallback until it can.
  func restorePartitioners(_ topics: [Topic]) async {
    for topic in topics where topic.builtIn == nil {
      do throws(Fault) {
        let loaded = try await partitioning.load(topic.current.binding, usedBy: topic.name)
        partitioning.install(topic, .success(loaded))
      } catch {
        logger.error(
          "partitioner not loaded; its fallback is in force",
          metadata: [
            "topic": "\(topic.name)", "plugin": "\(topic.current.binding.partitioner)",
            "fallback": "\(topic.current.binding.fallback.text)", "error": "\(error)",
          ])
        partitioning.install(topic, .failure(error))
      }
    }
    resumeWatches(topics)
  }

  /// Goes on with the watches that were under way when the broker ended.
  private func resumeWatches(_ topics: [Topic]) {
    for topic in topics where topic.current.watchedUntilMilliseconds > time.wallMilliseconds {
      do throws(Fault) {
        let claim = try partitioning.claim(topic, isRollback: false)
        try admin.submit {
          await SwapWatch(
            context: self, claim: claim, listener: .nobody(self.time), expectedShare: nil
          ).run(topic)
          self.partitioning.release(claim)
        }
      } catch {
        logger.error(
          "partitioner is not watched on", metadata: ["topic": "\(topic.name)", "error": "\(error)"])
      }
    }
  }
}
