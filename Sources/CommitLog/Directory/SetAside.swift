internal import SkeinCore

/// Moves folders of unknown topics out of the way without deleting them (B15). Threading: at start.
struct SetAside {
  let disk: any Disk

  /// Returns the topics that were moved to `aside/<topic>` (or `<topic>.<n>` if that exists).
  func moveUnknown(known: Set<TopicID>) throws(DiskError) -> [TopicID] {
    var moved: [TopicID] = []
    for entry in try disk.list(LogPaths.topics) where entry.isDirectory {
      guard let topic = TopicID(entry.name), !known.contains(topic) else { continue }
      try disk.rename(LogPaths.topic(topic), to: try freeName(topic))
      moved.append(topic)
    }
    guard !moved.isEmpty else { return [] }
    try disk.syncDirectory(LogPaths.setAside)
    try disk.syncDirectory(LogPaths.topics)
    return moved
  }

  private func freeName(_ topic: TopicID) throws(DiskError) -> String {
    var name = "\(LogPaths.setAside)/\(topic)"
    var count = 0
    while try disk.exists(name) {
      count += 1
      name = "\(LogPaths.setAside)/\(topic).\(count)"
    }
    return name
  }
}
