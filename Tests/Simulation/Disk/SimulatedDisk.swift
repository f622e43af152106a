package import CommitLog
internal import Synchronization

/// A disk in memory that can lose what no sync covers.
///
/// File bytes, a file's length and folder entries are durable each on its own: a power cut keeps any
/// subset of the unsynced writes, torn at sectors or bytes, and any subset of the unsynced names. After
/// a failed sync nothing is dirty any more and part of it is lost, though reads still show it, as on
/// Linux. The same seed and the same calls give the same disk.
///
/// **Threading.** Any thread; calls are serialised. Hooks run under the lock and must not call back.
package final class SimulatedDisk: Disk, @unchecked Sendable {
  // `@unchecked Sendable`: everything mutable is in `State`, guarded by `lock`.
  private let lock = Mutex(())
  private let state: State

  final class State {
    var nodes: [SimulatedNode] = [SimulatedNode(isDirectory: true)]
    var random: SeededRandom
    var capacity: Int
    var locks: Set<Int> = []
    /// Counts restarts: descriptors of an earlier one are dead.
    var generation = 0
    var isOff = false
    var operations = 0
    var crashAt: Int?
    var faults: [DiskFault] = []
    var hook: (@Sendable (DiskOperation) -> DiskVerdict)?
    var latency: (@Sendable (DiskOperation) -> Int64)?
    var busy: Int64 = 0
    var nameChanges = 0

    init(seed: UInt64, capacity: Int) {
      random = SeededRandom(seed: seed)
      self.capacity = capacity
    }
  }

  /// - Parameter capacity: bytes; beyond it writes and reservations throw `.noSpace`.
  package init(seed: UInt64, capacity: Int = 1 << 40) {
    state = State(seed: seed, capacity: capacity)
  }

  private init(_ state: State) { self.state = state }

  func withState<R>(_ body: (State) throws(DiskError) -> R) throws(DiskError) -> R {
    try lock.withLock { (_) throws(DiskError) in try body(state) }
  }

  private func quietly<R>(_ body: (State) -> R) -> R {
    lock.withLock { _ in body(state) }
  }

  // MARK: Power

  /// Cuts the power and restarts: what was not synced survives in part. Open files and locks of before
  /// are dead.
  package func powerCut(seed: UInt64) {
    quietly { state in
      let random = SeededRandom(seed: seed)
      for node in state.nodes where !node.isDirectory { node.cutPower(random) }
      state.cutNames(random)
      state.restart()
    }
  }

  /// Cuts the power when the medium has exactly the first `count` bytes of all unsynced writes, and all
  /// names.
  package func powerCut(keepingFirst count: Int) {
    quietly { state in
      var left = count
      for node in state.nodes {
        if node.isDirectory { node.syncNames() } else { node.cutPower(keepingFirst: &left) }
      }
      state.restart()
    }
  }

  /// The process dies, the system lives: nothing is lost, nothing becomes durable.
  package func kill() { quietly { $0.restart() } }

  /// Makes the power fail during the state-changing operation of that number (see `operations`).
  package func crash(atOperation number: Int?) { quietly { $0.crashAt = number } }

  /// State-changing operations so far.
  package var operations: Int { quietly { $0.operations } }

  /// Whether a planned crash has happened and nobody has restarted yet.
  package var isOff: Bool { quietly { $0.isOff } }

  /// Runs before every operation.
  package func setHook(_ hook: (@Sendable (DiskOperation) -> DiskVerdict)?) {
    quietly { $0.hook = hook }
  }

  // MARK: Faults

  package func inject(_ fault: DiskFault) { quietly { $0.faults.append(fault) } }
  package func clearFaults() { quietly { $0.faults.removeAll() } }
  package func setCapacity(_ bytes: Int) { quietly { $0.capacity = bytes } }

  /// Simulated nanoseconds that each operation takes; the simulator adds `busyNanoseconds` to its clock.
  package func setLatency(_ latency: (@Sendable (DiskOperation) -> Int64)?) {
    quietly { $0.latency = latency }
  }
  package var busyNanoseconds: Int64 { quietly { $0.busy } }

  /// Flips one bit on the medium; false when the file has no such byte.
  package func flipBit(_ path: String, byte: Int, bit: Int) -> Bool {
    quietly { state in
      guard let node = state.find(path).map({ state.nodes[$0] }), byte >= 0, byte < node.content.count else {
        return false
      }
      node.content[byte] ^= 1 << UInt8(bit & 7)
      if byte < node.durable.count { node.durable[byte] ^= 1 << UInt8(bit & 7) }
      return true
    }
  }

  /// Replaces bytes on the medium, as damage or an old copy would.
  package func overwrite(_ path: String, at offset: Int, _ bytes: [UInt8]) {
    quietly { state in
      guard let node = state.find(path).map({ state.nodes[$0] }) else { return }
      SimulatedNode.put(bytes, at: offset, into: &node.content)
      SimulatedNode.put(bytes, at: offset, into: &node.durable)
    }
  }

  /// What reads see of a file; nil if absent.
  package func contents(_ path: String) -> [UInt8]? {
    quietly { state in state.find(path).map { state.nodes[$0].content } }
  }

  /// Every file below the root, in byte order.
  package func allFiles() -> [String] {
    quietly { state in
      var found: [String] = []
      state.collect(0, "", &found)
      return found.sorted()
    }
  }

  /// Another disk with the same contents and unsynced changes, without faults and hooks.
  package func clone(seed: UInt64) -> SimulatedDisk {
    quietly { state in
      let copy = State(seed: seed, capacity: state.capacity)
      copy.nodes = state.nodes.map { $0.copy() }
      copy.nameChanges = state.nameChanges
      return SimulatedDisk(copy)
    }
  }

  // MARK: Disk

  package func open(_ path: String, _ mode: OpenMode) throws(DiskError) -> any DiskFile {
    let (node, generation) = try withState { (state) throws(DiskError) in
      let existing = state.find(path)
      let creates = existing == nil && (mode == .create || mode == .createNew)
      try state.enter(creates ? .createFile : .open, path)
      if let existing {
        if mode == .createNew { throw DiskError(.exists, operation: "open", path: path) }
        guard !state.nodes[existing].isDirectory else { throw DiskError(.io, operation: "open", path: path) }
        return (existing, state.generation)
      }
      guard creates else { throw DiskError(.notFound, operation: "open", path: path) }
      let node = try state.add(path, isDirectory: false)
      try state.leave(path)
      return (node, state.generation)
    }
    return SimulatedFile(disk: self, node: node, generation: generation, path: path)
  }

  package func createDirectory(_ path: String) throws(DiskError) {
    try withState { (state) throws(DiskError) in
      if let node = state.find(path) {
        try state.enter(.exists, path)
        guard state.nodes[node].isDirectory else { throw DiskError(.exists, operation: "mkdir", path: path) }
        return
      }
      try state.enter(.createDirectory, path)
      _ = try state.add(path, isDirectory: true)
      try state.leave(path)
    }
  }

  package func list(_ path: String) throws(DiskError) -> [DirectoryEntry] {
    try withState { (state) throws(DiskError) in
      try state.enter(.list, path)
      let names = try state.directory(path, "list").names
      return names.map { DirectoryEntry(name: $0.key, isDirectory: state.nodes[$0.value].isDirectory) }
        .sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    }
  }

  package func rename(_ from: String, to: String) throws(DiskError) {
    try withState { (state) throws(DiskError) in
      try state.enter(.rename, from)
      try state.rename(from, to)
      try state.leave(from)
    }
  }

  package func remove(_ path: String) throws(DiskError) {
    try unlink(path, isDirectory: false)
  }

  package func removeDirectory(_ path: String) throws(DiskError) {
    try unlink(path, isDirectory: true)
  }

  private func unlink(_ path: String, isDirectory: Bool) throws(DiskError) {
    try withState { (state) throws(DiskError) in
      let operation = isDirectory ? "rmdir" : "unlink"
      try state.enter(isDirectory ? .removeDirectory : .remove, path)
      guard let number = state.find(path) else {
        throw DiskError(.notFound, operation: operation, path: path)
      }
      let node = state.nodes[number]
      guard node.isDirectory == isDirectory else { throw DiskError(.io, operation: operation, path: path) }
      guard node.names.isEmpty else { throw DiskError(.exists, operation: operation, path: path) }
      let (parent, name) = try state.place(path, operation)
      state.nodes[parent].change([name: Int?.none], number: state.nextNameChange())
      try state.leave(path)
    }
  }

  package func syncDirectory(_ path: String) throws(DiskError) {
    try withState { (state) throws(DiskError) in
      let directory = try state.directory(path, "fsync")
      try state.enter(.syncDirectory, path)
      try state.leave(path)
      let numbers = Set(directory.nameChanges.map(\.number))
      directory.syncNames()
      for node in state.nodes where !node.nameChanges.isEmpty { node.syncNames(numbers: numbers) }
    }
  }

  package func exists(_ path: String) throws(DiskError) -> Bool {
    try withState { (state) throws(DiskError) in
      try state.enter(.exists, path)
      return state.find(path) != nil
    }
  }

  package func space() throws(DiskError) -> DiskSpace {
    try withState { (state) throws(DiskError) in
      try state.enter(.space, "")
      return DiskSpace(free: Int64(max(0, state.capacity - state.used())), total: Int64(state.capacity))
    }
  }

  package func lock(_ path: String) throws(DiskError) -> any DiskLock {
    _ = try open(path, .create)
    return try withState { (state) throws(DiskError) in
      try state.enter(.lock, path)
      guard let node = state.find(path), state.locks.insert(node).inserted else {
        throw DiskError(.locked, operation: "lock", path: path)
      }
      return SimulatedLock(disk: self, node: node, generation: state.generation)
    }
  }

  fileprivate func unlock(_ node: Int, generation: Int) {
    quietly { state in if state.generation == generation { state.locks.remove(node) } }
  }
}

private final class SimulatedLock: DiskLock {
  private let disk: SimulatedDisk
  private let node: Int
  private let generation: Int

  init(disk: SimulatedDisk, node: Int, generation: Int) {
    self.disk = disk
    self.node = node
    self.generation = generation
  }

  deinit { disk.unlock(node, generation: generation) }
}
