import GroupCoordination
import Logging
import OffsetStorage
import SkeinCore
import Transport
import Wire

/// The stores of offsets: which there are, who uses which, and moving a group's offsets.
extension GroupsService {
  /// Nil: there is no such method.
  func offsetStoreHandler(method: String, call: Call, principal: Principal) -> (any CallHandler)? {
    switch method {
    case "ListOffsetStores": context.admin.unary(call, principal, listStores)
    case "ChooseOffsetStore": context.admin.unary(call, principal, chooseStore)
    case "MoveOffsets": moveOffsets(call, principal)
    default: nil
    }
  }

  /// Tells a message for every thousand offsets. The caller may go: the move goes on to its end.
  private func moveOffsets(_ call: Call, _ principal: Principal) -> any CallHandler {
    OperationStreamHandler<MoveOffsetsProgress>(
      call: call, context: context, drainMessage: "the same call ends the move after the start"
    ) { [context] message, caller throws(Fault) in
      let request = try MoveOffsetsRequest(decoding: message)
      let move = OffsetMove(
        offsets: context.groupOffsets, key: try GroupsCheck.group(request.group, of: principal),
        target: request.to, principal: principal.name,
        tell: { progress in
          caller.tell(
            MoveOffsetsProgress(
              step: progress.step, from: progress.from, to: progress.to, done: Int64(progress.done),
              total: Int64(progress.total)))
        })
      try context.admin.submit {
        var fault: Fault?
        do throws(Fault) {
          try await move.run()
        } catch {
          fault = error
        }
        context.audit(
          fault == nil ? "offsets of a group moved" : "offsets of a group not moved", by: principal,
          ["group": move.key.name, "to": move.target, "problem": fault?.message ?? ""])
        caller.end(fault)
      }
      return {}
    }
  }

  @Sendable private func listStores(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    _ = try ListOffsetStoresRequest(decoding: message)
    let offsets = context.groupOffsets
    let standard = offsets.choices.standard(of: principal.tenant.rawValue)
    var stores = [
      OffsetStoreDescription(
        name: GroupOffsets.log, plugin: "built in", isDefault: standard == GroupOffsets.log)
    ]
    for store in offsets.stores.all {
      stores.append(
        OffsetStoreDescription(
          name: store.name, plugin: store.origin, isDefault: standard == store.name,
          problem: store.condition.problem?.message ?? ""))
    }
    return ListOffsetStoresResponse(stores: stores).encoded()
  }

  @Sendable private func chooseStore(_ message: SharedBytes, _ principal: Principal) async throws -> [UInt8] {
    let request = try ChooseOffsetStoreRequest(decoding: message)
    let tenant = principal.tenant.rawValue
    let before: String
    if request.group.isEmpty {
      before = try await context.groupOffsets.choose(request.store, tenant: tenant, by: principal.name)
    } else {
      let key = try GroupsCheck.group(request.group, of: principal)
      before = try await context.groupOffsets.choose(request.store, group: key, by: principal.name)
    }
    context.audit(
      "offset store chosen", by: principal,
      ["group": request.group, "store": request.store, "before": before])
    return ChooseOffsetStoreResponse(before: before).encoded()
  }
}
