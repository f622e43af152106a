internal import CSkeinShims
internal import Glibc
package import SkeinCore

/// A plug-in's bytes in a sealed memory file: what was hashed is what is mapped, and nothing can change it any more.
///
/// The descriptor is closed with the last reference, unless the image was loaded into this process: then it stays open
/// for ever, because the loader would take another file under the same number for the old one (plugins.md, B2).
package final class SealedImage: Sendable {
  package let descriptor: Int32

  /// - Parameter name: for /proc and debuggers; at most 200 bytes.
  package init(_ bytes: SharedBytes, name: String) throws(LoadRefusal) {
    let result = bytes.withUnsafeBytes { skein_sealed_image($0.baseAddress, $0.count, name) }
    guard result >= 0 else {
      throw LoadRefusal(
        .system, "no sealed memory file for \(bytes.count) bytes of \(name): \(systemText(-result))")
    }
    descriptor = result
  }

  deinit { close(descriptor) }
}

/// What an errno says.
package func systemText(_ code: Int32) -> String {
  var text = [CChar](repeating: 0, count: 128)
  skein_error_text(code, &text, text.count)
  return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
