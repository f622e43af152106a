import CommitLog

/// Faults, names and restarts. Everything here runs under the disk's lock.
extension SimulatedDisk.State {
  /// Begins an operation: throws what a hook, a fault or a dead system makes of it.
  func enter(_ kind: DiskOperation.Kind, _ path: String, count: Int = 0) throws(DiskError) {
    if isOff { throw DiskError(.io, operation: "\(kind)", path: path) }
    if kind.changesState { operations += 1 }
    let operation = DiskOperation(
      kind: kind, path: path, count: count, number: kind.changesState ? operations : 0)
    busy += latency?(operation) ?? 0
    switch hook?(operation) ?? .proceed {
    case .proceed: break
    case .fail(let error): throw DiskError(error, operation: "\(kind)", path: path, code: 5)
    case .crash: isOff = true
    }
    if kind.changesState, operations == crashAt { isOff = true }
    if let error = strike(kind, path, { if case .error = $0 { true } else { false } }),
      case .error(let error) = error
    {
      throw DiskError(error, operation: "\(kind)", path: path, code: 5)
    }
  }

  /// Ends an operation that has taken effect: a crash during it is reported now.
  func leave(_ path: String) throws(DiskError) {
    if isOff { throw DiskError(.io, operation: "power", path: path) }
  }

  /// Takes the next fault of a class that waits for this operation.
  func strike(
    _ kind: DiskOperation.Kind, _ path: String, _ matches: (DiskFault.Effect) -> Bool
  ) -> DiskFault.Effect? {
    for index in faults.indices
    where faults[index].kind == kind && path.contains(faults[index].path) && matches(faults[index].effect) {
      if faults[index].after > 0 {
        faults[index].after -= 1
        continue
      }
      guard faults[index].times > 0 else { continue }
      if faults[index].times != .max { faults[index].times -= 1 }
      return faults[index].effect
    }
    return nil
  }

  func restart() {
    generation += 1
    isOff = false
    crashAt = nil
    locks.removeAll()
  }

  // MARK: Names

  func find(_ path: String) -> Int? {
    var node = 0
    for part in path.split(separator: "/") where part != "." {
      guard let next = nodes[node].names[String(part)] else { return nil }
      node = next
    }
    return node
  }

  func directory(_ path: String, _ operation: String) throws(DiskError) -> SimulatedNode {
    guard let number = find(path), nodes[number].isDirectory else {
      throw DiskError(.notFound, operation: operation, path: path)
    }
    return nodes[number]
  }

  /// The folder and the last name of a path.
  func place(_ path: String, _ operation: String) throws(DiskError) -> (parent: Int, name: String) {
    let parts = path.split(separator: "/")
    guard let name = parts.last, !parts.contains("..") else {
      throw DiskError(.permission, operation: operation, path: path)
    }
    guard let parent = find(parts.dropLast().joined(separator: "/")), nodes[parent].isDirectory else {
      throw DiskError(.notFound, operation: operation, path: path)
    }
    return (parent, String(name))
  }

  func add(_ path: String, isDirectory: Bool) throws(DiskError) -> Int {
    let (parent, name) = try place(path, "create")
    nodes.append(SimulatedNode(isDirectory: isDirectory))
    nodes[parent].change([name: nodes.count - 1], number: nextNameChange())
    return nodes.count - 1
  }

  func rename(_ from: String, _ to: String) throws(DiskError) {
    guard let node = find(from) else { throw DiskError(.notFound, operation: "rename", path: from) }
    let (source, oldName) = try place(from, "rename")
    let (target, newName) = try place(to, "rename")
    if let existing = nodes[target].names[newName] {
      guard nodes[existing].isDirectory == nodes[node].isDirectory, nodes[existing].names.isEmpty else {
        throw DiskError(.exists, operation: "rename", path: to)
      }
    }
    if source == target && oldName == newName { return }
    let number = nextNameChange()
    if source == target {
      nodes[source].change([oldName: Int?.none, newName: node], number: number)
    } else {
      nodes[source].change([oldName: Int?.none], number: number)
      nodes[target].change([newName: node], number: number)
    }
  }

  func nextNameChange() -> Int {
    nameChanges += 1
    return nameChanges
  }

  /// Unsynced names after a power cut: none, all, the oldest, or any of them.
  func cutNames(_ random: SeededRandom) {
    let mode = random.below(4)
    let pending = Set(nodes.flatMap { $0.nameChanges.map(\.number) }).sorted()
    let limit = random.below(pending.count + 1)
    var kept: Set<Int> = []
    for (index, number) in pending.enumerated() {
      switch mode {
      case 0: break
      case 1: kept.insert(number)
      case 2: if index < limit { kept.insert(number) }
      default: if random.chance(50) { kept.insert(number) }
      }
    }
    for node in nodes where node.isDirectory { node.cutPower { kept.contains($0) } }
  }

  func collect(_ number: Int, _ path: String, _ found: inout [String]) {
    for (name, child) in nodes[number].names {
      let childPath = path.isEmpty ? name : path + "/" + name
      if nodes[child].isDirectory { collect(child, childPath, &found) } else { found.append(childPath) }
    }
  }

  // MARK: Space

  func used() -> Int { used(0) }

  private func used(_ number: Int) -> Int {
    nodes[number].names.values.reduce(nodes[number].charge) { $0 + used($1) }
  }

  /// Throws when `node` may not grow to `size` bytes.
  func reserve(_ node: SimulatedNode, _ size: Int, _ operation: String, _ path: String) throws(DiskError) {
    guard size > node.charge, capacity < 1 << 40 else { return }
    guard used() + size - node.charge <= capacity else {
      throw DiskError(.noSpace, operation: operation, path: path, code: 28)
    }
  }
}
