import SkeinCore
import Transport
import Wire

/// `Groups/Commit` of groups without members: each call commits one offset of each of the topic's first `offsets`
/// partitions, one further than the group's call before. The topic needs a record for each 64 calls.
struct Committing: Workload {
  static let groups = 64

  let topic: String
  let offsets: Int

  func call(_ number: Int) -> (path: String, message: [UInt8]) {
    let offset = Int64(number / Self.groups + 1)
    let request = CommitRequest(
      group: "bench-\(number % Self.groups)",
      offsets: (0..<offsets).map { PartitionOffset(topic: topic, partition: Int32($0), offset: offset) })
    return (GroupsMethod.commit, request.encoded())
  }

  func isExpected(_ number: Int, _ status: GRPCStatus, reply: SharedBytes?) -> Bool {
    guard status.code == .ok, let reply, let response = try? CommitResponse(decoding: reply) else {
      return false
    }
    return response.results.count == offsets && response.results.allSatisfy { $0.error == nil }
  }
}
