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

/// Texts that `why` points to. The host copies one before it calls the plug-in again; each stays for 63 more refusals,
/// which is more than there are threads that create instances.
private enum Texts {
  /// `@unchecked Sendable`: the memory is written before it is shared, and freed only under the lock.
  private struct Ring: @unchecked Sendable {
    var slots = [UnsafeMutableRawPointer?](repeating: nil, count: 64)
    var next = 0
  }

  private static let ring = Mutex(Ring())
  private static let lengthLimit = 1_024

  static func keep(_ text: String) -> skein_bytes {
    let utf8 = Array(text.utf8.prefix(lengthLimit))
    let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, utf8.count))
    memory.initialize(from: utf8, count: utf8.count)
    let kept = UnsafeMutableRawPointer(memory)
    let address = UInt(bitPattern: kept)
    ring.withLock { ring in
      ring.slots[ring.next]?.deallocate()
      ring.slots[ring.next] = UnsafeMutableRawPointer(bitPattern: address)
      ring.next = (ring.next + 1) % ring.slots.count
    }
    return skein_bytes(ptr: UnsafePointer(memory), len: utf8.count)
  }
}
