import SkeinCore
import Transport
import Wire

/// `Producer/Publish`, one record of random bytes a call, acknowledged when durable.
struct Publishing: Workload {
  private let topic: String
  private let size: Int
  private let block: SharedBytes

  init(topic: String, size: Int) {
    self.topic = topic
    self.size = size
    var random = SystemRandomNumberGenerator()
    block = SharedBytes((0..<(size + 4096)).map { _ in UInt8.random(in: 0...255, using: &random) })
  }

  func call(_ number: Int) -> (path: String, message: [UInt8]) {
    let value = SharedBytes(block.storage, offset: (number &* 61) & 4095, count: size)
    return (ProducerMethod.publish, PublishRequest(topic: topic, records: [Record(value: value)]).encoded())
  }

  func isExpected(_ number: Int, _ status: GRPCStatus, reply: SharedBytes?) -> Bool {
    guard status.code == .ok, let reply, let response = try? PublishResponse(decoding: reply) else {
      return false
    }
    return response.results.count == 1 && response.results[0].error == nil
  }
}
