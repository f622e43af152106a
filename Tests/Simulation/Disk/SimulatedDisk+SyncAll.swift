package import CommitLog

extension SimulatedDisk {
  /// As a sync of every file and folder; a failed one loses data of each.
  package func syncAll() throws(DiskError) {
    try withState { (state) throws(DiskError) in
      do throws(DiskError) {
        try state.enter(.sync, "")
      } catch {
        if !state.isOff {
          for node in state.nodes where !node.isDirectory { node.failSync(state.random) }
        }
        throw error
      }
      try state.leave("")
      for node in state.nodes {
        if node.isDirectory { node.syncNames() } else { node.sync() }
      }
    }
  }
}
