import GroupCoordination
import NIOCore
import Logging
import SkeinCore
import Transport
import Wire

/// `skein.v1.Groups`. Committing and fetching stay on the call's loop; the rest waits in the administrative queue.
struct GroupsService: Sendable {
  static let maximumPageSize = 1_000
  static let standardPageSize = 100

  let context: BrokerContext

  var check: GroupsCheck { GroupsCheck(context: context) }

  func handler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    switch method {
    case "List": context.admin.unary(call, principal, list)
    case "Describe": context.admin.unary(call, principal, describe)
    case "Commit": UnaryHandler(call) { commit($0, principal, $1) }
    case "FetchOffsets": UnaryHandler(call) { fetchOffsets($0, principal, $1) }
    case "ResetOffsets": context.admin.unary(call, principal, resetOffsets)
    case "Delete": context.admin.unary(call, principal, delete)
    default: offsetStoreHandler(method: method, call: call, principal: principal)
    }
  }

  // MARK: List

  @Sendable private func list(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try ListGroupsRequest(decoding: message)
    guard (0...Int32(Self.maximumPageSize)).contains(request.pageSize) else {
      throw Fault(
        .invalidRequest, "page_size \(request.pageSize) is outside 0 to \(Self.maximumPageSize)",
        violations: [.init(field: "page_size", description: "0 to \(Self.maximumPageSize)")])
    }
    let size = request.pageSize == 0 ? Self.standardPageSize : Int(request.pageSize)
    // Each coordinator knows a part of the groups: the first `size` of all are among the first of each.
    let parts = await context.groups.askAll(
      .list(
        tenant: principal.tenant.rawValue, after: request.pageToken, prefix: request.prefix, limit: size + 1))
    var groups: [GroupCoordination.GroupSummary] = []
    for part in parts {
      if case .list(let summaries) = try part.get() { groups += summaries }
    }
    var found = groups.map {
      Wire.GroupSummary($0, store: context.groupOffsets.storeName(of: $0.key, inLog: $0.offsets))
    }
    // Those whose offsets are in another store, though their coordinator has forgotten them.
    let known = Set(found.map(\.group))
    for key in context.groupOffsets.recorded(in: principal.tenant.rawValue)
    where key.name > request.pageToken && !known.contains(key.name)
      && (request.prefix.isEmpty || key.name.hasPrefix(request.prefix))
    {
      found.append(
        Wire.GroupSummary(
          group: key.name, phase: .empty, offsetStore: context.groupOffsets.storeName(of: key, inLog: 0)))
    }
    found.sort { $0.group < $1.group }
    let page = found.prefix(size)
    return ListGroupsResponse(
      groups: Array(page), nextPageToken: found.count > size ? page.last?.group ?? "" : ""
    ).encoded()
  }

  // MARK: Delete

  @Sendable private func delete(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try DeleteGroupRequest(decoding: message)
    let key = try GroupsCheck.group(request.group, of: principal)
    var topic: TopicID?
    if !request.topic.isEmpty { topic = try context.registry.topic(request.topic, of: principal.tenant).id }
    let count = try await context.groupOffsets.delete(key, topic: topic)
    context.audit(
      topic == nil ? "group deleted" : "offsets of a group deleted", by: principal,
      ["group": key.name, "topic": request.topic, "offsets": "\(count)"])
    return DeleteGroupResponse(offsets: Int64(count)).encoded()
  }
}

extension Wire.GroupSummary {
  init(_ summary: GroupCoordination.GroupSummary, store: String) {
    self.init(
      group: summary.key.name, phase: GroupPhase(summary.phase), members: Int32(clamping: summary.members),
      epoch: summary.epoch, offsetStore: store)
  }
}

extension GroupPhase {
  init(_ phase: GroupDescription.Phase) {
    switch phase {
    case .empty: self = .empty
    case .reconciling: self = .reconciling
    case .stable: self = .stable
    }
  }
}
