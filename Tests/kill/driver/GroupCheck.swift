/// Compares what was published with what the members say they did.
struct GroupCheck {
  let members: [MemberProcess]
  let ledger: GroupLedger
  let view: GroupView
  /// The group's offsets at the end, by partition; -1: none.
  let committed: [Int64]
  /// Where the partitions end.
  let ends: [Int64]

  func run(_ report: inout GroupReport) {
    report.published = ledger.count
    for failure in ledger.failures { report.note(\.broken, "not published: \(failure)") }
    countRecords(&report)
    let starts = runs()
    checkCommits(starts, &report)
    checkOwners(&report)
    checkEnd(&report)
  }

  /// Every acknowledged record was processed (lost: 0); how many more than once.
  private func countRecords(_ report: inout GroupReport) {
    for (partition, acknowledged) in ledger.acknowledged.enumerated() {
      var seen: [Int64: Int] = [:]
      for delivery in view.deliveries[partition] {
        seen[delivery.sequence, default: 0] += 1
        if let offset = acknowledged[delivery.sequence], offset >= 0, offset != delivery.offset {
          report.note(
            \.broken,
            "partition \(partition), record \(delivery.sequence): published at \(offset), delivered as \(delivery.offset)"
          )
        }
      }
      for sequence in acknowledged.keys where seen[sequence] == nil {
        report.note(
          \.lost,
          "partition \(partition), record \(sequence) at offset \(acknowledged[sequence] ?? -1): nobody processed it"
        )
      }
      report.twice += seen.values.reduce(0) { $0 + $1 - 1 }
    }
  }

  /// A member's time with a partition: from an assignment to its first record.
  private struct Run {
    let member: Int
    let partition: Int
    let assigned: Int64
    let begun: Int64
    let begin: Int64
  }

  private func runs() -> [Run] {
    var runs: [Run] = []
    for member in members {
      var waiting: [Int: Int64] = [:]
      for event in member.events {
        switch event.kind {
        case .assigned(let partitions): for partition in partitions { waiting[partition] = event.at }
        case .processed(let partition, let offset, _, _):
          guard let assigned = waiting.removeValue(forKey: partition) else { continue }
          runs.append(
            Run(
              member: member.number, partition: partition, assigned: assigned, begun: event.at, begin: offset)
          )
        default: break
        }
      }
    }
    return runs
  }

  /// Nobody begins below what was acknowledged as committed before its assignment, so only what came after the last commit
  /// is processed again. And nobody's commit beyond where the next owner began is taken after that (G15): it would
  /// be one of a member that had lost the partition.
  private func checkCommits(_ runs: [Run], _ report: inout GroupReport) {
    let partitions = view.deliveries.count
    var commits = Array(repeating: [(at: Int64, member: Int, offset: Int64)](), count: partitions)
    for member in members {
      for event in member.events {
        switch event.kind {
        case .committed(let partition, let offset):
          commits[partition].append((event.at, member.number, offset))
        case .refused(_, let reason): report.refusals[reason, default: 0] += 1
        default: break
        }
      }
    }
    for run in runs {
      for commit in commits[run.partition] {
        if commit.at < run.assigned, commit.offset > run.begin {
          report.note(
            \.broken,
            "partition \(run.partition): member \(run.member) began at \(run.begin), though member \(commit.member) had committed \(commit.offset)"
          )
        }
        if commit.at > run.begun, commit.member != run.member, commit.offset > run.begin,
          !runs.contains(where: {
            $0.partition == run.partition && $0.member == commit.member && $0.assigned > run.assigned
          })
        {
          report.note(
            \.broken,
            "partition \(run.partition): member \(run.member) had begun at \(run.begin) when a commit of \(commit.offset) by member \(commit.member) was taken"
          )
        }
      }
    }
  }

  /// Never two owners, but for members that were killed or stopped (G10, G12).
  private func checkOwners(_ report: inout GroupReport) {
    var changes = Array(repeating: [(at: Int64, member: Int, owns: Bool)](), count: view.deliveries.count)
    for member in members {
      for event in member.events {
        switch event.kind {
        case .assigned(let some):
          for partition in some { changes[partition].append((event.at, member.number, true)) }
        case .revoked(let some), .lost(let some):
          for partition in some { changes[partition].append((event.at, member.number, false)) }
        case .ended:
          for partition in changes.indices { changes[partition].append((event.at, member.number, false)) }
        default: break
        }
      }
    }
    let faults = Dictionary(uniqueKeysWithValues: members.map { ($0.number, $0.faults) })
    for (partition, list) in changes.enumerated() {
      // Since when.
      var owners: [Int: Int64] = [:]
      for change in list.sorted(by: { $0.at < $1.at }) {
        guard change.owns else {
          owners[change.member] = nil
          continue
        }
        for (other, since) in owners where other != change.member {
          if faults[other]?.contains(where: { since < $0 && $0 <= change.at }) == true { continue }
          report.note(
            \.broken, "partition \(partition): members \(other) and \(change.member) had it at the same time")
        }
        owners[change.member] = change.at
      }
    }
  }

  /// All is processed and committed in the end.
  private func checkEnd(_ report: inout GroupReport) {
    for (partition, end) in ends.enumerated() where committed[partition] != end {
      report.note(
        \.broken, "partition \(partition): committed \(committed[partition]) in the end, it ends at \(end)")
    }
  }
}
