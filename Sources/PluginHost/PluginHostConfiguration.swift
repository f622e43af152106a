/// Limits and places of the plug-in host. Every wait and every queue has its maximum here.
package struct PluginHostConfiguration: Sendable {
  /// Path of skein-plugin-host.
  package var hostProgram: String
  /// Breadcrumbs and quarantine: a folder of the broker's own, made if its parent is there (`data/plugins/run`).
  package var runDirectory: String

  /// After these, milliseconds, a call fails. A partitioner's deadline also ends its child: its calls return at once, or hang.
  package var partitionerDeadlineMilliseconds: Int64 = 1_000
  package var authenticatorDeadlineMilliseconds: Int64 = 2_000
  package var offsetStoreDeadlineMilliseconds: Int64 = 5_000
  /// Load and `create`, `quiesce`, `destroy`, milliseconds.
  package var loadDeadlineMilliseconds: Int64 = 10_000
  package var controlDeadlineMilliseconds: Int64 = 5_000

  /// Calls that one instance may have open, and bytes that all calls of a child may hold; beyond: try again.
  package var maximumOpenCalls = 1_024
  package var maximumOpenBytes = 64 << 20
  /// Instances in one child, children, and images in the broker.
  package var maximumInstances = 1_024
  package var maximumImages = 256

  /// A child that answers no ping, or a broker's thread that does not come out of a plug-in, for so long hangs.
  package var hangLimitMilliseconds: Int64 = 10_000
  package var backoffMilliseconds: ClosedRange<Int64> = 10...30_000
  /// So many strikes in so many seconds quarantine a plug-in.
  package var strikes = 3
  package var strikeWindowSeconds: Int64 = 600

  /// MiB that a child may hold where its manifest says nothing sensible; what the host program itself takes comes on top.
  package var memoryMegabytes = 256
  package var baseMemoryMegabytes = 32
  package var maximumThreads = 64
  package var maximumDescriptors = 256
  /// How often a child's resources are looked at and a ping is sent, milliseconds.
  package var pollMilliseconds: Int64 = 1_000

  /// The user that children become, where the broker may change users (root); nil: the broker's own.
  package var childUser: User?

  package struct User: Sendable, Hashable {
    package var uid: UInt32
    package var gid: UInt32
    package init(uid: UInt32, gid: UInt32) {
      self.uid = uid
      self.gid = gid
    }
  }

  package init(hostProgram: String, runDirectory: String) {
    self.hostProgram = hostProgram
    self.runDirectory = runDirectory
  }
}
