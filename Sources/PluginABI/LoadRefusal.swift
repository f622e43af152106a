/// Why a file is not a plug-in that this host can run. `check` is a word for programs, `message` a sentence.
package struct LoadRefusal: Error, Sendable, Hashable, CustomStringConvertible {
  package enum Check: String, Sendable {
    /// The loader refused the file.
    case load
    /// `skein_plugin_entry` gave NULL.
    case entry
    /// A table is too short to hold what every plug-in has.
    case table
    /// Its id or version is not the manifest's.
    case identity
    /// A kind of the manifest that it does not have.
    case kind
    /// `create` did not make an instance.
    case create
    /// The configuration is of no use to it.
    case config
    /// The operating system gave no memory, descriptor or thread.
    case system
  }

  package let check: Check
  package let message: String

  package init(_ check: Check, _ message: String) {
    self.check = check
    self.message = message
  }

  package var description: String { message }
}
