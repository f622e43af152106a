package import SkeinCore

import CSkeinShims

/// Keys and tokens are in this process's memory, and plug-ins may run under its user: neither a core file nor
/// `/proc` shall hand them over (faults-and-security.md, hardening; Docs/plugins/threat-model.md).
package enum PrivateProcess {
  /// No core dumps from now on, and no look into `/proc/<pid>/environ`, `maps` and `mem` for others of this user.
  package static func hide() throws(Fault) {
    let code = skein_hide()
    guard code == 0 else {
      throw Fault(
        .internalError, "the broker cannot keep its memory from other processes of its user (errno \(code))")
    }
  }
}
