import Wire

/// Where consumer groups keep their committed offsets.
extension Admin {
  /// The stores that this broker has.
  public func listOffsetStores() async throws(SkeinError) -> [OffsetStoreDescription] {
    try await client.unary(
      GroupsMethod.listOffsetStores, ListOffsetStoresRequest(), ListOffsetStoresResponse.self
    ).stores.map {
      OffsetStoreDescription(
        name: $0.name, plugin: $0.plugin, isDefault: $0.isDefault,
        problem: $0.problem.isEmpty ? nil : $0.problem)
    }
  }

  /// Chooses the store of the tenant's new groups, or of one group that has no offsets yet; others are moved.
  /// - Parameter group: nil: new groups of the tenant.
  /// - Returns: the store before.
  /// - Throws: OFFSET_STORE_NOT_FOUND, CONFLICT (the group has offsets).
  @discardableResult
  public func chooseOffsetStore(_ store: String, group: String? = nil) async throws(SkeinError) -> String {
    try await client.unary(
      GroupsMethod.chooseOffsetStore, ChooseOffsetStoreRequest(store: store, group: group ?? ""),
      ChooseOffsetStoreResponse.self
    ).before
  }

  /// Moves a stopped group's offsets to another store; see `OffsetMove`.
  public func moveOffsets(group: String, to store: String) -> OffsetMove {
    OffsetMove(client, request: MoveOffsetsRequest(group: group, to: store).encoded())
  }
}

extension OffsetMoveProgress {
  init(_ wire: MoveOffsetsProgress) {
    let step: Step =
      switch wire.step {
      case .copying: .copying
      case .comparing: .comparing
      case .switched: .switched
      case .done: .done
      default: .other
      }
    self.init(step: step, from: wire.from, to: wire.to, done: wire.done, total: wire.total)
  }
}
