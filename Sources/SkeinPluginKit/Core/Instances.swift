import CSkeinPlugin
import Synchronization

/// `create` and `destroy` of every kind: an instance is an object that the host holds by one reference.
enum Instances {
  /// Makes an instance by `make`; what it throws becomes a status and `why`.
  static func create(
    _ host: UnsafePointer<skein_host>?, _ instance: UInt64, _ config: skein_bytes,
    _ out: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ why: UnsafeMutablePointer<skein_bytes>?,
    make: (PluginContext) throws -> AnyObject
  ) -> skein_status {
    let json = config.buffer.isEmpty ? Array("{}".utf8) : config.copy
    let context = PluginContext(host: Host(host), instance: instance, configJSON: json)
    do {
      let made = try make(context)
      out?.pointee = Unmanaged.passRetained(made).toOpaque()
      return SKEIN_OK
    } catch {
      let error = PluginError(mapping: error)
      why?.pointee = Texts.keep(error.message)
      return error.kind.rawValue
    }
  }

  static func destroy(_ raw: UnsafeMutableRawPointer?) {
    guard let raw else { return }
    Unmanaged<AnyObject>.fromOpaque(raw).release()
  }
}

/// Texts that are never freed, because the host may read `why` at any time. Bounded: the same sentence is kept once,
/// and after 64 different ones a general one stands for all others.
private enum Texts {
  /// `@unchecked Sendable`: the memory is written before it is shared and never again.
  private struct Kept: @unchecked Sendable {
    let bytes: skein_bytes
  }

  private static let kept = Mutex<[String: Kept]>([:])
  private static let limit = 64
  private static let general = "the plug-in refused; it gave more than 64 different reasons so far"
  private static let lengthLimit = 1_024

  static func keep(_ text: String) -> skein_bytes {
    kept.withLock { kept in
      let key = kept.count < limit || kept[text] != nil ? text : general
      if let found = kept[key] { return found.bytes }
      let utf8 = Array(key.utf8.prefix(lengthLimit))
      let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, utf8.count))
      memory.initialize(from: utf8, count: utf8.count)
      let bytes = skein_bytes(ptr: UnsafePointer(memory), len: utf8.count)
      kept[key] = Kept(bytes: bytes)
      return bytes
    }
  }
}
