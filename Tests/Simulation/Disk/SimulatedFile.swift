import CommitLog

/// An open file of the simulated disk; dead after a restart.
final class SimulatedFile: DiskFile {
  private let disk: SimulatedDisk
  private let node: Int
  private let generation: Int
  private let path: String

  init(disk: SimulatedDisk, node: Int, generation: Int, path: String) {
    self.disk = disk
    self.node = node
    self.generation = generation
    self.path = path
  }

  func size() throws(DiskError) -> Int64 {
    try with(.size) { (_, node) in Int64(node.content.count) }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DiskError) -> Int {
    try with(.read, buffer.count) { (_, node) in
      let start = min(Int(clamping: max(0, offset)), node.content.count)
      let count = min(buffer.count, node.content.count - start)
      if count > 0 {
        node.content.withUnsafeBytes {
          buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + count]))
        }
      }
      return count
    }
  }

  func write(_ parts: [UnsafeRawBufferPointer], at offset: Int64) throws(DiskError) {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(parts.reduce(0) { $0 + $1.count })
    for part in parts { bytes.append(contentsOf: part) }
    try with(.write, bytes.count) { (state, node) throws(DiskError) in
      if bytes.isEmpty { return }
      var offset = Int(offset)
      try state.reserve(node, offset + bytes.count, "write", path)
      if let effect = state.strike(.write, path, { if case .error = $0 { false } else { true } }) {
        switch effect {
        case .misdirect(let delta): offset = max(0, offset + Int(delta))
        case .flipBit(let bit): bytes[Int(bit / 8 % UInt64(bytes.count))] ^= 1 << UInt8(bit % 8)
        case .lose, .error: return
        }
      }
      node.write(bytes, at: offset)
      try state.leave(path)
    }
  }

  func sync() throws(DiskError) {
    try disk.withState { (state) throws(DiskError) in
      try check(state)
      let node = state.nodes[node]
      do throws(DiskError) {
        try state.enter(.sync, path)
      } catch {
        if !state.isOff { node.failSync(state.random) }
        throw error
      }
      // A crash during a sync leaves any part of it behind: the power cut decides.
      try state.leave(path)
      node.sync()
    }
  }

  func truncate(to size: Int64) throws(DiskError) {
    try with(.truncate) { (state, node) throws(DiskError) in
      try state.reserve(node, Int(size), "truncate", path)
      node.resize(Int(size))
      try state.leave(path)
    }
  }

  func allocate(from offset: Int64, count: Int64) throws(DiskError) {
    try with(.allocate) { (state, node) throws(DiskError) in
      try state.reserve(node, Int(offset + count), "allocate", path)
      node.reserved = max(node.reserved, Int(offset + count))
      try state.leave(path)
    }
  }

  private func with<R>(
    _ kind: DiskOperation.Kind, _ count: Int = 0,
    _ body: (SimulatedDisk.State, SimulatedNode) throws(DiskError) -> R
  ) throws(DiskError) -> R {
    try disk.withState { (state) throws(DiskError) in
      try check(state)
      try state.enter(kind, path, count: count)
      return try body(state, state.nodes[node])
    }
  }

  private func check(_ state: SimulatedDisk.State) throws(DiskError) {
    guard state.generation == generation else { throw DiskError(.io, operation: "stale file", path: path) }
  }
}
