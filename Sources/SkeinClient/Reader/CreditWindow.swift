/// The credits of one stream of records (stream rule 2), without I/O: what the broker may send, so that no more is on
/// its way or waiting here than a window.
///
/// Credits are cumulative totals per stream. Invariant: what is on its way plus what waits for the application never
/// exceeds the window by more than one message of the broker: the total granted is `received + window - held`. A grant
/// is sent when it is worth a message (a quarter of the window), so that small takes do not become small messages.
struct CreditWindow: Sendable {
  /// Records and stored bytes.
  struct Amount: Sendable, Equatable {
    var records: Int64 = 0
    var bytes: Int64 = 0
  }

  let window: Amount
  /// Received and not yet taken by the application, over all streams.
  private(set) var held = Amount()
  /// Totals of the current stream.
  private(set) var granted = Amount()
  private(set) var received = Amount()
  private(set) var isConnected = false

  /// No message charges more than this (messages are at most 16 MiB): a broker that says otherwise is
  /// not believed, and sums cannot overflow.
  private static let chargeLimit: Int64 = 1 << 31

  init(_ window: Amount) { self.window = window }

  /// A stream begins: totals start over. The first grant is an eighth of the window, or less if more
  /// is still held; the rest follows with the first message.
  mutating func opened() -> Amount {
    isConnected = true
    received = Amount()
    granted = Amount(
      records: max(0, min(max(1, window.records / 8), window.records - held.records)),
      bytes: max(0, min(max(1, window.bytes / 8), window.bytes - held.bytes)))
    return granted
  }

  mutating func lost() { isConnected = false }

  /// The broker's total has come to this. What that charges; nil when it makes no sense, and nothing has changed.
  mutating func charge(to total: Amount) -> Amount? {
    let charge = Amount(records: total.records - received.records, bytes: total.bytes - received.bytes)
    guard (0...Self.chargeLimit).contains(charge.records), (0...Self.chargeLimit).contains(charge.bytes)
    else { return nil }
    received = total
    return charge
  }

  /// It waits for the application. What is dropped instead is granted again by itself.
  mutating func hold(_ charge: Amount) {
    held.records += charge.records
    held.bytes += charge.bytes
  }

  /// The application took it, or it was dropped.
  mutating func taken(_ charge: Amount) {
    held.records -= charge.records
    held.bytes -= charge.bytes
  }

  /// The next grant, if it is worth a message.
  mutating func nextGrant() -> Amount? {
    guard isConnected else { return nil }
    let due = Amount(
      records: max(granted.records, received.records + window.records - held.records),
      bytes: max(granted.bytes, received.bytes + window.bytes - held.bytes))
    guard
      due.records - granted.records >= max(1, window.records / 4)
        || due.bytes - granted.bytes >= max(1, window.bytes / 4)
    else { return nil }
    granted = due
    return due
  }
}
