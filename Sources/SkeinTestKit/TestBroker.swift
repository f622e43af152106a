import Broker
import Foundation
public import Logging
public import SkeinClient
import SkeinCore
import Synchronization

/// A real broker inside a test process: the code of `skeind` over TLS on a free loopback port, with a
/// temporary folder and an authority of its own. Nothing is mocked: what passes here passes outside.
///
/// ```swift
/// let broker = try await TestBroker.start()
/// let client = try broker.client()
/// try await client.admin.createTopic("orders", partitions: 4)
/// …
/// await client.close()
/// await broker.close()
/// ```
/// Or in one scope, which cleans up whatever happens:
/// ```swift
/// try await TestBroker.run { broker, client in … }
/// ```
/// `restart()` and `kill()` show how a service bears a broker that goes away. Starting takes some tens of
/// milliseconds and 64 MiB of disk (the journal); brokers are independent of each other, so tests may run side by side.
///
/// Any thread. `stop`, `kill`, `restart` and `close` wait for each other. A broker that is dropped
/// without `close` is stopped, and its folder removed, a moment later.
public final class TestBroker: Sendable {
  private let server: TestServer
  private let authority: TestAuthority
  /// `host:port` of gRPC; the same after every restart.
  public let address: String

  private init(_ server: TestServer, _ authority: TestAuthority, address: String) {
    self.server = server
    self.authority = authority
    self.address = address
  }

  deinit {
    let server = server
    Task { await server.end() }
  }

  /// Starts a broker; returns when it serves.
  /// - Throws: `SkeinError` with what is wrong and the cure, e.g. a full temporary folder.
  public static func start(_ options: TestBrokerOptions = .init()) async throws(SkeinError) -> TestBroker {
    do {
      let authority = try TestAuthority()
      let server = try TestServer(options, authority)
      let address = try await server.start()
      return TestBroker(server, authority, address: address)
    } catch { throw SkeinError(wrapping: error) }
  }

  /// Runs `body` with a broker and a connected administrator; both end with it, also when it throws.
  public nonisolated(nonsending) static func run<Result>(
    _ options: TestBrokerOptions = .init(),
    _ body: nonisolated(nonsending) (TestBroker, Client) async throws -> Result
  ) async throws -> Result {
    let broker = try await start(options)
    do {
      let client = try broker.client()
      do {
        let result = try await body(broker, client)
        await client.close()
        await broker.close()
        return result
      } catch {
        await client.close()
        throw error
      }
    } catch {
      await broker.close()
      throw error
    }
  }

  // MARK: Clients

  /// A client of this broker. Close it before the broker.
  /// - Parameter principal: whom its certificate names, in the tenant `default`.
  public func client(principal: String = "admin") throws(SkeinError) -> Client {
    try Client(configuration(principal: principal))
  }

  /// A client's configuration for this broker, to be changed or handed to your own set-up code.
  public func configuration(principal: String = "admin") throws(SkeinError) -> ClientConfiguration {
    ClientConfiguration(address: address, tls: try identity(principal: principal))
  }

  /// A certificate of this broker's authority, in memory.
  public func identity(principal: String, tenant: String = "default") throws(SkeinError) -> TLSIdentity {
    do { return try authority.client(tenant: tenant, principal: principal) } catch {
      throw SkeinError(wrapping: error)
    }
  }

  // MARK: Going away and coming back

  /// Stops as on SIGTERM: streams are told, open calls end, the log closes cleanly. Data and port stay for `restart`.
  public func stop() async { await server.stop(.clean) }

  /// Ends as after SIGKILL: connections break, what was not synced is not synced, the next start recovers. (The
  /// process's page cache lives on, so this shows a killed process, not a power cut.)
  public func kill() async { await server.stop(.killed) }

  /// Starts again on the same data and port; stops cleanly before that if it runs.
  public func restart() async throws(SkeinError) {
    await server.stop(.clean)
    do { _ = try await server.start() } catch { throw SkeinError(wrapping: error) }
  }

  /// Stops and removes the folder. It cannot be started again.
  public func close() async { await server.end() }

  /// Where its data lies; for tests of this package.
  package var folder: String { server.folder.path }
}

/// How a `TestBroker` runs.
public struct TestBrokerOptions: Sendable {
  /// What a clean stop waits for open calls. Default 2 s.
  public var drain: Duration = .seconds(2)
  /// Bytes that buffers for clients may hold at once. Default 128 MiB.
  public var memoryBudget = 128 << 20
  /// Event-loop threads. Default 1.
  public var eventLoops = 1
  /// After such a silence a member of a consumer group is removed, and stops by itself; a broken stream is waited for
  /// a third of it, at most 6 s. 1 s to 1 h. Default 45 s, as skeind's.
  public var groupSession: Duration = .seconds(45)
  /// How long a process that failed too often in a group stays away from it, the first time.
  package var groupQuarantine: Duration = .seconds(10)
  /// Where the broker's log lines go; nil: nowhere.
  public var logger: Logger?

  public init() {}
}
