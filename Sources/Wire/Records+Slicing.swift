import SkeinCore

// The messages of which a request or an answer holds many thousands are read here, field by field,
// straight from the scanned bytes: keys and values become slices of the message. Through protobuf-c
// a record of 26 bytes costs 200 bytes of arena, a copy of each part, and about twice the time.

extension Header {
  init(slicing bytes: SharedBytes, limits: WireLimits) throws(Fault) {
    self.init()
    bytes.withUnsafeBytes { buffer in
      var reader = FieldReader(buffer)
      while let field = reader.next() {
        switch (field.number, field.wireType) {
        case (1, 2): name = String(decoding: buffer[field.range], as: UTF8.self)
        case (2, 2): value = bytes.slice(field.range)
        default: break
        }
      }
    }
  }
}

extension Record {
  init(slicing bytes: SharedBytes, limits: WireLimits) throws(Fault) {
    self.init()
    try bytes.withUnsafeBytes { (buffer) throws(Fault) in
      var reader = FieldReader(buffer)
      while let field = reader.next() {
        switch (field.number, field.wireType) {
        case (1, 2): key = bytes.slice(field.range)
        case (2, 2): value = bytes.slice(field.range)
        case (3, 2): headers.append(try Header(slicing: bytes.slice(field.range), limits: limits))
        case (4, 0): timestampMs = Int64(bitPattern: field.value)
        case (5, 0): partition = Int32(truncatingIfNeeded: field.value)
        default: break
        }
      }
    }
  }
}

extension StoredRecord {
  init(slicing bytes: SharedBytes, limits: WireLimits) throws(Fault) {
    self.init()
    try bytes.withUnsafeBytes { (buffer) throws(Fault) in
      var reader = FieldReader(buffer)
      while let field = reader.next() {
        switch (field.number, field.wireType) {
        case (1, 0): offset = Int64(bitPattern: field.value)
        case (2, 2): key = bytes.slice(field.range)
        case (3, 2): value = bytes.slice(field.range)
        case (4, 2): headers.append(try Header(slicing: bytes.slice(field.range), limits: limits))
        case (5, 0): timestampMs = Int64(bitPattern: field.value)
        case (6, 0): leaderEpoch = Int32(truncatingIfNeeded: field.value)
        default: break
        }
      }
    }
  }
}

extension RecordResult {
  init(slicing bytes: SharedBytes, limits: WireLimits) throws(Fault) {
    self.init()
    try bytes.withUnsafeBytes { (buffer) throws(Fault) in
      var reader = FieldReader(buffer)
      while let field = reader.next() {
        switch (field.number, field.wireType) {
        case (1, 0): partition = Int32(truncatingIfNeeded: field.value)
        case (2, 0): offset = Int64(bitPattern: field.value)
        case (3, 2): error = try Status(slicing: bytes.slice(field.range), limits: limits)
        default: break
        }
      }
    }
  }
}
