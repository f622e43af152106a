import Transport

/// What concerns the stores of offsets.
extension GroupsService {
  /// Nil: there is no such method.
  func offsetStoreHandler(method: String, call: Call, principal: Principal) -> (any CallHandler)? { nil }
}
