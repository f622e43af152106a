internal import CSkeinShims
package import CommitLog

extension FileDisk {
  /// One `syncfs`: it also writes out what other processes have dirty on the same file system.
  ///
  /// Since Linux 5.8 it reports every write-back error since the root was opened, once.
  package func syncAll() throws(DiskError) {
    let code = skein_syncfs(root.number)
    guard code == 0 else { throw DiskError(errno: code, "syncfs", "") }
  }
}
