import COpenSSL
package import SkeinCore

/// Ed25519 by OpenSSL, and nothing else: one algorithm, nothing to negotiate.
///
/// The manifest's bytes are signed as they are (`openssl pkeyutl -sign -rawin` makes the same 64 bytes). A key's id is
/// the first 16 hexadecimal digits of the sha256 of its SubjectPublicKeyInfo (DER). Any thread; each call leaves
/// OpenSSL's error queue empty.
package enum Signature {
  /// Bytes of a signature.
  package static let length = 64
  /// Bytes of a PEM text that are looked at.
  package static let mostPEMBytes = 16 << 10
  private static let algorithm = "ED25519"

  package struct KeyPair: Sendable {
    /// PKCS#8, not encrypted.
    package var privatePEM: String
    /// SubjectPublicKeyInfo.
    package var publicPEM: String
  }

  /// - Throws: `INTERNAL` when OpenSSL has no randomness or no Ed25519.
  package static func generate() throws(Fault) -> KeyPair {
    ERR_clear_error()
    defer { ERR_clear_error() }
    guard let context = EVP_PKEY_CTX_new_from_name(nil, algorithm, nil) else { throw broken("no Ed25519") }
    defer { EVP_PKEY_CTX_free(context) }
    var made: OpaquePointer?
    guard EVP_PKEY_keygen_init(context) == 1, EVP_PKEY_generate(context, &made) == 1, let made else {
      throw broken("no key was made")
    }
    defer { EVP_PKEY_free(made) }
    let secret = try text { PEM_write_bio_PKCS8PrivateKey($0, made, nil, nil, 0, nil, nil) }
    return KeyPair(privatePEM: secret, publicPEM: try text { PEM_write_bio_PUBKEY($0, made) })
  }

  /// 64 bytes over `message`.
  /// - Throws: `INVALID_REQUEST` when the text holds no unencrypted Ed25519 private key.
  package static func sign(_ message: [UInt8], privateKeyPEM: String) throws(Fault) -> [UInt8] {
    ERR_clear_error()
    defer { ERR_clear_error() }
    let key = try privateKey(privateKeyPEM)
    defer { EVP_PKEY_free(key) }
    guard let context = EVP_MD_CTX_new() else { throw broken("no memory") }
    defer { EVP_MD_CTX_free(context) }
    var signature = [UInt8](repeating: 0, count: length)
    var count = length
    guard EVP_DigestSignInit(context, nil, nil, nil, key) == 1,
      EVP_DigestSign(context, &signature, &count, message, message.count) == 1, count == length
    else { throw broken("nothing was signed") }
    return signature
  }

  /// Whether `signature` is this key's over exactly these bytes; false also for a key that is none.
  package static func verify(_ message: [UInt8], signature: [UInt8], publicKeyPEM: String) -> Bool {
    ERR_clear_error()
    defer { ERR_clear_error() }
    guard signature.count == length, let key = try? publicKey(publicKeyPEM) else { return false }
    defer { EVP_PKEY_free(key) }
    guard let context = EVP_MD_CTX_new() else { return false }
    defer { EVP_MD_CTX_free(context) }
    return EVP_DigestVerifyInit(context, nil, nil, nil, key) == 1
      && EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
  }

  /// - Throws: `INVALID_REQUEST` when the text holds no Ed25519 public key.
  package static func keyID(publicKeyPEM: String) throws(Fault) -> String {
    ERR_clear_error()
    defer { ERR_clear_error() }
    let key = try publicKey(publicKeyPEM)
    defer { EVP_PKEY_free(key) }
    return try keyID(of: key)
  }

  /// The public half of a private key, as PEM, and its id.
  /// - Throws: as `sign`.
  package static func publicHalf(privateKeyPEM: String) throws(Fault) -> (pem: String, keyID: String) {
    ERR_clear_error()
    defer { ERR_clear_error() }
    let key = try privateKey(privateKeyPEM)
    defer { EVP_PKEY_free(key) }
    return (try text { PEM_write_bio_PUBKEY($0, key) }, try keyID(of: key))
  }

  private static func keyID(of key: OpaquePointer) throws(Fault) -> String {
    var encoded: UnsafeMutablePointer<UInt8>?
    let count = i2d_PUBKEY(key, &encoded)
    guard count > 0, let encoded else { throw broken("the key has no DER form") }
    defer { CRYPTO_free(encoded, #file, #line) }
    let digest = Digest.sha256(UnsafeRawBufferPointer(start: encoded, count: Int(count)))
    return Digest.text(digest.prefix(8))
  }

  // MARK: PEM

  private static func privateKey(_ pem: String) throws(Fault) -> OpaquePointer {
    guard let bio = memory(pem) else { throw notAKey("private", "it is larger than \(mostPEMBytes) bytes") }
    defer { BIO_free(bio) }
    // An empty passphrase instead of none: OpenSSL would ask for one on the terminal.
    var empty: CChar = 0
    guard let key = PEM_read_bio_PrivateKey(bio, nil, nil, &empty) else {
      throw notAKey("private", "no unencrypted PEM block PRIVATE KEY was found")
    }
    return try checked(key, "private")
  }

  private static func publicKey(_ pem: String) throws(Fault) -> OpaquePointer {
    guard let bio = memory(pem) else { throw notAKey("public", "it is larger than \(mostPEMBytes) bytes") }
    defer { BIO_free(bio) }
    guard let key = PEM_read_bio_PUBKEY(bio, nil, nil, nil) else {
      throw notAKey("public", "no PEM block PUBLIC KEY was found")
    }
    return try checked(key, "public")
  }

  private static func checked(_ key: OpaquePointer, _ half: String) throws(Fault) -> OpaquePointer {
    guard EVP_PKEY_is_a(key, algorithm) == 1 else {
      EVP_PKEY_free(key)
      throw notAKey(half, "it is a key of another algorithm")
    }
    return key
  }

  private static func memory(_ pem: String) -> OpaquePointer? {
    let bytes = Array(pem.utf8)
    guard bytes.count <= mostPEMBytes, let bio = BIO_new(BIO_s_mem()) else { return nil }
    guard bytes.isEmpty || BIO_write(bio, bytes, Int32(bytes.count)) == Int32(bytes.count) else {
      BIO_free(bio)
      return nil
    }
    return bio
  }

  private static func text(_ write: (OpaquePointer) -> Int32) throws(Fault) -> String {
    guard let bio = BIO_new(BIO_s_mem()) else { throw broken("no memory") }
    defer { BIO_free(bio) }
    guard write(bio) == 1 else { throw broken("the key has no PEM form") }
    var bytes = [UInt8](repeating: 0, count: mostPEMBytes)
    let count = BIO_read(bio, &bytes, Int32(bytes.count))
    guard count > 0 else { throw broken("the key has no PEM form") }
    return String(decoding: bytes.prefix(Int(count)), as: UTF8.self)
  }

  private static func notAKey(_ half: String, _ why: String) -> Fault {
    let text = "this is no Ed25519 \(half) key: \(why); `skein plugin keygen` makes a pair"
    return Fault(.invalidRequest, text, violations: [.init(field: "pem", description: text)])
  }

  private static func broken(_ why: String) -> Fault {
    Fault(.internalError, "OpenSSL cannot work with Ed25519 keys: \(why)")
  }
}
