import SkeinCore
import Testing
import Transport
import Wire

@testable import Broker

/// The assignor affinity:LABEL, with a topic whose partitions have places.
@Suite(.serialized) struct SubscribePlacesTests {
  @Test func membersGetWhatIsNear() async throws {
    let fixture = try await GroupFixture.start(partitions: 4, settings: ["partition.places": "a,b"])
    let near = try await join(fixture, "a")
    try await near.until { $0.owned == [0, 1, 2, 3] }
    let far = try await join(fixture, "b")
    try await near.until { $0.revoking == [1, 3] }
    try await near.release()
    try await far.until { $0.owned == [1, 3] }

    // The places change on the live topic, and the partitions with them.
    let _: UpdateTopicResponse = try await fixture.connection.call(
      TopicsMethod.update, UpdateTopicRequest(name: "t", set: ["partition.places": "b,a"]))
    try await near.until { $0.revoking == [0, 2] }
    try await near.release()
    try await far.until { $0.revoking == [1, 3] }
    try await far.release()
    try await near.until { $0.owned == [1, 3] }
    try await far.until { $0.owned == [0, 2] }
    try await near.leave()
    try await far.leave()
    await fixture.end()
  }

  private func join(_ fixture: GroupFixture, _ zone: String) async throws -> MemberClient {
    try await MemberClient.open(fixture.connection) { join in
      join.assignor = "affinity:zone"
      join.labels = ["zone": zone]
    }
  }

  @Test(arguments: ["a,,b", ",", "a b", "a,", String(repeating: "x", count: 129)])
  func whatIsNoPlaceIsRefused(_ text: String) {
    var violations: [Fault.FieldViolation] = []
    _ = TopicSettings(explicit: ["partition.places": text], violations: &violations)
    #expect(violations.count == 1)
  }
}
