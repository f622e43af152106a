import COpenSSL
import COpenSSLShims

/// The TLS side of one connection: ciphertext in and out through our own BIO, with no copy of it
/// held here between calls.
///
/// Confined to the connection's loop. Plaintext to send is gathered into full records in the loop's
/// staging buffer; runs of a whole record or more are encrypted from where they lie.
final class TLSStream {
  enum Progress: Equatable {
    case done
    case wantsMore
    case failed(TLSFailure)
  }

  /// nil: joined in memory, the bytes pass as they are (`InProcessServer` only).
  private let ssl: OpaquePointer?
  /// Kept as long as the SSL: its callbacks point there.
  private let context: TLSContext?
  private let memoryPeer: PeerIdentity?
  private let io: UnsafeMutablePointer<skein_tls_io>
  private let scratch: LoopScratch
  private var staged = 0
  /// Set for good by the first write that fails; the connection must be closed.
  private(set) var writeFailed = false

  /// nil when memory is out, or the name of the server cannot be used.
  /// - Parameter serverName: client only: the DNS name or IP address that the certificate must carry.
  init?(context: TLSContext, serverName: String?, scratch: LoopScratch) {
    guard let ssl = context.makeSSL() else { return nil }
    io = .allocate(capacity: 1)
    io.initialize(to: skein_tls_io())
    self.ssl = ssl
    self.context = context
    memoryPeer = nil
    self.scratch = scratch
    guard let bio = skein_bio_new(io) else { return nil }
    SSL_set_bio(ssl, bio, bio)
    switch context.side {
    case .server: SSL_set_accept_state(ssl)
    case .client:
      SSL_set_connect_state(ssl)
      if let serverName, !expect(serverName) { return nil }
    }
  }

  /// No TLS: an end of an in-process pair, whose peer is who the caller says.
  init(memory peer: PeerIdentity, scratch: LoopScratch) {
    io = .allocate(capacity: 1)
    io.initialize(to: skein_tls_io())
    ssl = nil
    context = nil
    memoryPeer = peer
    self.scratch = scratch
  }

  deinit {
    SSL_free(ssl)
    skein_tls_io_release(io)
    io.deallocate()
  }

  private func expect(_ name: String) -> Bool {
    guard let ssl else { return false }
    let parameters = SSL_get0_param(ssl)
    if X509_VERIFY_PARAM_set1_ip_asc(parameters, name) == 1 { return true }
    ERR_clear_error()
    SSL_set_hostflags(
      ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT))
    return SSL_set1_host(ssl, name) == 1 && skein_ssl_set_server_name(ssl, name) == 1
  }

  // MARK: Input

  /// Lends `ciphertext` to the BIO while `body` runs; what it does not consume is lost.
  func withInput<R>(_ ciphertext: UnsafeRawBufferPointer, _ body: () -> R) -> R {
    io.pointee.in = ciphertext.baseAddress?.assumingMemoryBound(to: UInt8.self)
    io.pointee.in_length = ciphertext.count
    defer {
      io.pointee.in = nil
      io.pointee.in_length = 0
    }
    return body()
  }

  /// Ciphertext of the lent input that is not consumed yet.
  var unreadInput: Int { io.pointee.in_length }

  func handshake() -> Progress {
    guard let ssl else { return .done }
    var error: Int32 = 0
    if skein_ssl_handshake(ssl, &error) == 1 { return .done }
    if error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE { return .wantsMore }
    return .failed(.current(ssl))
  }

  enum Read {
    case bytes(Int)
    case wantsMore
    /// The peer sent close_notify.
    case ended
    case failed(TLSFailure)
  }

  /// Decrypts at most one record into the loop's plaintext buffer.
  @inline(__always)
  func read() -> Read {
    guard let ssl else { return readMemory() }
    var error: Int32 = 0
    let n = skein_ssl_read(ssl, scratch.plaintext.baseAddress, Int32(LoopScratch.recordBytes), &error)
    if n > 0 { return .bytes(Int(n)) }
    switch error {
    case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return .wantsMore
    case SSL_ERROR_ZERO_RETURN: return .ended
    default: return .failed(.current(ssl))
    }
  }

  private func readMemory() -> Read {
    let n = skein_io_take(io, scratch.plaintext.baseAddress, LoopScratch.recordBytes)
    return n > 0 ? .bytes(n) : .wantsMore
  }

  // MARK: Output

  /// Lends a region for ciphertext while `body` runs; returns how much of it was used. What does
  /// not fit is kept and given by `takeOverflow`.
  func withOutput(_ region: UnsafeMutableRawBufferPointer, _ body: () -> Void) -> Int {
    io.pointee.out = region.baseAddress?.assumingMemoryBound(to: UInt8.self)
    io.pointee.out_length = 0
    io.pointee.out_capacity = region.count
    body()
    let used = io.pointee.out_length
    io.pointee.out = nil
    io.pointee.out_length = 0
    io.pointee.out_capacity = 0
    return used
  }

  /// Room left in the lent region.
  var outputRoom: Int { io.pointee.out_capacity - io.pointee.out_length }

  /// Ciphertext that found no room in a lent region (handshake messages, alerts), in order.
  func takeOverflow(_ body: (UnsafeRawBufferPointer) -> Void) {
    guard io.pointee.overflow_length > 0 else { return }
    body(UnsafeRawBufferPointer(start: io.pointee.overflow, count: io.pointee.overflow_length))
    skein_tls_io_release(io)
  }

  /// Adds plaintext to the record in the making; encrypts whenever a record is full.
  func write(_ bytes: UnsafeRawBufferPointer) {
    guard var from = bytes.baseAddress else { return }
    var left = bytes.count
    while left > 0 {
      if staged == 0, left >= LoopScratch.recordBytes {
        encrypt(from, LoopScratch.recordBytes)
        from += LoopScratch.recordBytes
        left -= LoopScratch.recordBytes
        continue
      }
      let n = min(left, LoopScratch.recordBytes - staged)
      (scratch.staging.baseAddress! + staged).copyMemory(from: from, byteCount: n)
      staged += n
      from += n
      left -= n
      if staged == LoopScratch.recordBytes { flush() }
    }
  }

  /// Encrypts what is staged. Must be called before the loop's staging is used by anyone else.
  func flush() {
    guard staged > 0, let base = scratch.staging.baseAddress else { return }
    encrypt(base, staged)
    staged = 0
  }

  /// Queues close_notify.
  func shutdown() {
    guard let ssl else { return }
    ERR_clear_error()
    if SSL_in_init(ssl) == 0 { _ = SSL_shutdown(ssl) }
    ERR_clear_error()
  }

  private func encrypt(_ bytes: UnsafeRawPointer, _ count: Int) {
    guard !writeFailed else { return }
    guard let ssl else {
      writeFailed = skein_io_put(io, bytes, count) != 1
      return
    }
    var error: Int32 = 0
    // The BIO takes everything, so a write is never partial.
    writeFailed = skein_ssl_write(ssl, bytes, Int32(count), &error) != Int32(count)
  }

  // MARK: The peer

  /// Whether ALPN settled on h2.
  var negotiatedH2: Bool {
    guard let ssl else { return true }
    var bytes: UnsafePointer<UInt8>?
    var length: UInt32 = 0
    SSL_get0_alpn_selected(ssl, &bytes, &length)
    guard length == 2, let bytes else { return false }
    return bytes[0] == UInt8(ascii: "h") && bytes[1] == UInt8(ascii: "2")
  }

  /// Whether a newer context, with other revocation lists, would refuse the peer.
  func isRevoked(by context: TLSContext) -> Bool {
    guard let ssl, let certificate = SSL_get1_peer_certificate(ssl) else { return false }
    defer { X509_free(certificate) }
    return context.revokes(certificate)
  }

  /// What is known of the peer beside its name; call it after the handshake.
  func evidence(remoteAddress: String) -> ConnectionEvidence {
    var evidence = ConnectionEvidence()
    evidence.address = remoteAddress
    guard let ssl else { return evidence }
    withUnsafeMutablePointer(to: &evidence.certificates) { list in
      skein_ssl_each_certificate(ssl, list) { context, bytes, length in
        guard let context, let bytes else { return }
        context.assumingMemoryBound(to: [[UInt8]].self).pointee.append(
          Array(UnsafeRawBufferPointer(start: bytes, count: length)))
      }
    }
    if let name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) {
      evidence.serverName = String(cString: name)
    }
    var exporter = [UInt8](repeating: 0, count: 32)
    if skein_ssl_exporter(ssl, &exporter, exporter.count) == 1 { evidence.tlsExporter = exporter }
    return evidence
  }

  /// The verified peer; call it after the handshake.
  func peerIdentity(remoteAddress: String) -> PeerIdentity {
    if let memoryPeer { return memoryPeer }
    var identity = PeerIdentity(remoteAddress: remoteAddress)
    guard let ssl, let certificate = SSL_get1_peer_certificate(ssl) else { return identity }
    defer { X509_free(certificate) }
    withUnsafeMutablePointer(to: &identity.subjectAlternativeURIs) { list in
      skein_x509_each_uri(certificate, list) { context, bytes, length in
        guard let context, let bytes else { return }
        let text = UnsafeRawBufferPointer(start: bytes, count: length)
        if let uri = String(validating: text, as: UTF8.self) {
          context.assumingMemoryBound(to: [String].self).pointee.append(uri)
        }
      }
    }
    var name = [CChar](repeating: 0, count: 256)
    let length = skein_x509_common_name(certificate, &name, Int32(name.count))
    if length >= 0 {
      identity.commonName = String(
        decoding: name.prefix(Int(length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    let notAfter = skein_x509_not_after(certificate)
    identity.certificateNotAfter = notAfter >= 0 ? notAfter : nil
    return identity
  }
}
