import Logging
import NIOCore
import PluginPackage
import PluginRegistry
import SkeinCore
import Synchronization
import Transport
import Wire

/// One Plugins/Install: gathers the package in bounded memory, then has it checked, probed and stored. Confined to the
/// connection's loop.
///
/// States: `waiting` → `receiving` → `installing` → `closed`. Nothing is stored before every check has passed, so a client
/// that breaks off leaves nothing. One install at a time, charged to the memory budget; a client that falls
/// silent loses its place after `silence`.
///
/// `@unchecked Sendable`: state is touched on the call's loop only.
final class InstallHandler: CallHandler, @unchecked Sendable {
  static let mostChunkBytes = 1 << 20
  private static let silence = TimeAmount.seconds(30)

  private enum State {
    case waiting
    case receiving(Package)
    case installing
    case closed
  }

  private struct Package {
    let storage: SharedBytes.Storage
    let size: Int
    let sha256: String
    let verifyOnly: Bool
    var filled = 0
    /// Gives the place back when the package goes, wherever that is.
    let place: Place
  }

  private let call: Call
  private let context: BrokerContext
  private let principal: Principal
  private var state = State.waiting
  private var timer: Scheduled<Void>?

  init(call: Call, context: BrokerContext, principal: Principal) {
    self.call = call
    self.context = context
    self.principal = principal
    expect()
  }

  // MARK: From the client

  func received(_ message: SharedBytes) {
    defer { call.release(message.count) }
    do throws(Fault) {
      let request = try InstallPluginRequest(decoding: message)
      switch state {
      case .waiting: try begin(request)
      case .receiving(let package):
        guard request.size == 0, request.sha256.isEmpty, !request.verifyOnly else {
          throw Self.invalid("size", "size, sha256 and verify_only belong into the first message only")
        }
        try append(request.chunk, to: package)
      case .installing, .closed: return
      }
      expect()
    } catch {
      fail(error)
    }
  }

  func receivedEnd() {
    guard case .receiving(let package) = state else {
      return fail(
        Self.invalid("size", "Install takes the package's size and sha256 first; this stream ended before"))
    }
    guard package.filled == package.size else {
      return fail(
        Self.invalid(
          "chunk", "the stream ended after \(package.filled) of \(package.size) bytes; send the whole package"
        ))
    }
    timer?.cancel()
    state = .installing
    install(package)
  }

  func closed(_ status: GRPCStatus, _ trailers: Metadata) { end() }

  private func begin(_ request: InstallPluginRequest) throws(Fault) {
    guard request.size > 0, request.size <= UInt64(PackageFile.mostBytes) else {
      throw Self.invalid(
        "size", "the package has \(request.size) bytes; a package has 1 to \(PackageFile.mostBytes)")
    }
    guard Digest.isHexadecimal(request.sha256) else {
      throw Self.invalid("sha256", "sha256 is not 64 digits 0-9 a-f; give the package's hash")
    }
    guard let place = Place(context.plugins) else {
      throw Fault(
        .overloaded, "another plug-in is being installed; one at a time, try again in a second",
        retryAfterMilliseconds: 1_000)
    }
    let size = Int(request.size)
    guard let reservation = context.budget.reserve(size) else {
      throw Fault(
        .overloaded, "the broker's memory budget has no room for \(size) bytes of a package now; try again",
        retryAfterMilliseconds: 1_000)
    }
    let package = Package(
      storage: SharedBytes.Storage(capacity: size, reservation: reservation), size: size,
      sha256: request.sha256, verifyOnly: request.verifyOnly, place: place)
    try append(request.chunk, to: package)
  }

  private func append(_ chunk: SharedBytes, to package: Package) throws(Fault) {
    guard chunk.count <= Self.mostChunkBytes else {
      throw Self.invalid(
        "chunk", "a chunk has \(chunk.count) bytes; send at most \(Self.mostChunkBytes) in one message")
    }
    guard chunk.count <= package.size - package.filled else {
      throw Self.invalid("chunk", "more bytes came than the \(package.size) that were announced")
    }
    chunk.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      (package.storage.base + package.filled).copyMemory(from: base, byteCount: bytes.count)
    }
    var package = package
    package.filled += chunk.count
    state = .receiving(package)
  }

  private func expect() {
    timer?.cancel()
    timer = call.eventLoop.scheduleTask(in: Self.silence) { [weak self] in
      self?.fail(
        Fault(
          .deadlineExceeded,
          "nothing came for \(Self.silence.nanoseconds / 1_000_000_000) s; nothing was installed, begin again"
        ))
    }
  }

  // MARK: The work

  private func install(_ package: Package) {
    let context = context
    let principal = principal
    let loop = call.eventLoop
    do throws(Fault) {
      try context.admin.submit {
        let result: Result<[UInt8], Fault>
        do {
          result = .success(try await Self.run(package, context, principal))
        } catch {
          result = .failure(Fault(wrapping: error))
        }
        loop.execute { self.answer(result) }
      }
    } catch {
      fail(error)
    }
  }

  private static func run(
    _ package: Package, _ context: BrokerContext, _ principal: Principal
  ) async throws -> [UInt8] {
    defer { _ = package.place }
    let bytes = SharedBytes(package.storage, offset: 0, count: package.size)
    guard Digest.hexadecimal(bytes) == package.sha256 else {
      throw Refusal.fault(
        .hash, file: "package", cause: "the package that arrived is not the one that was announced (sha256)",
        cure: "Send it again")
    }
    let runner = context.plugins.runner
    let installed = try await context.plugins.registry.install(
      package: bytes, by: principal.name, verifyOnly: package.verifyOnly
    ) { (artifact) throws(Fault) in try await runner.probe(artifact) }
    let entry = installed.entry
    if !package.verifyOnly, !installed.wasThere {
      context.audit(
        "plugin installed", by: principal,
        [
          "plugin": entry.reference.description, "sha256": entry.sha256, "key_id": entry.keyID,
          "trust": entry.trust?.rawValue ?? "",
        ])
    }
    var summary = await context.summary(of: entry).summary
    if package.verifyOnly, !installed.wasThere { summary.state = "" }
    return InstallPluginResponse(
      plugin: summary, checks: installed.passed.map { PluginCheck(name: $0.name, detail: $0.detail) },
      wasInstalledBefore: installed.wasThere
    ).encoded()
  }

  // MARK: The end

  private func answer(_ result: Result<[UInt8], Fault>) {
    switch result {
    case .success(let message):
      guard case .installing = state else { return }
      end()
      call.send(OutboundMessage(head: message))
      call.finish(.ok)
    case .failure(let fault): fail(fault)
    }
  }

  private func fail(_ fault: Fault) {
    if case .closed = state { return }
    end()
    call.finish(GRPCStatus(fault))
  }

  private func end() {
    timer?.cancel()
    timer = nil
    state = .closed
  }

  private static func invalid(_ field: String, _ text: String) -> Fault {
    Fault(.invalidRequest, text, violations: [.init(field: field, description: text)])
  }

  /// The one place for an install; given back with its last reference.
  private final class Place: Sendable {
    private let plugins: PluginManager

    init?(_ plugins: PluginManager) {
      guard !plugins.isInstalling.exchange(true, ordering: .acquiringAndReleasing) else { return nil }
      self.plugins = plugins
    }

    deinit { plugins.isInstalling.store(false, ordering: .releasing) }
  }
}
