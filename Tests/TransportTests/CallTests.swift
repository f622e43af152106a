import NIOCore
import SkeinCore
import Testing

@testable import Transport

@Suite struct CallTests {
  @Test func unary() async throws {
    let server = try await TestServer.start()
    let client = try await server.connect()
    let answer = try await client.unary(path: "/t.T/Echo", message: OutboundMessage(head: [1, 2, 3]))
    #expect(answer.array == [1, 2, 3])
    await client.close()
    await server.server.close()
  }
}
