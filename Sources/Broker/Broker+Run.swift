import Gateway
import Logging
import MetadataStore
import NIOCore
import SkeinCore
import Transport

extension Broker {
  /// Does the broker's periodic and administrative work until `stop` is called elsewhere.
  /// Run it once, beside the caller's signal handling, in a task group.
  package func run() async {
    await withTaskGroup { group in
      group.addTask { [store] in await store.run() }
      group.addTask { [context, configuration] in
        let pause = Duration.milliseconds(configuration.maintenanceMilliseconds)
        while (try? await Task.sleep(for: pause, clock: .continuous)) != nil {
          await context.upkeepGate.pass {
            await context.workers.maintain()
            await context.partitioning.recover()
            await context.refreshStatus()
          }
        }
      }
      if configuration.certificateWatchMilliseconds > 0 {
        group.addTask { [certificates, tokenListener, configuration] in
          let pause = Duration.milliseconds(configuration.certificateWatchMilliseconds)
          while (try? await Task.sleep(for: pause, clock: .continuous)) != nil {
            certificates.look(force: false)
            tokenListener?.certificates.look(force: false)
          }
        }
      }
      group.addTask { [context, configuration] in
        await Scrubbing(context: context, configuration: configuration).run()
      }
      group.addTask { [context, configuration] in
        await Compacting(context: context, configuration: configuration).run()
      }
      if let authenticator = context.authenticator { group.addTask { await authenticator.run() } }
      group.addTask { [context] in await context.groups.run() }
      group.addTask { [context] in
        await context.upkeepGate.pass { await context.groupOffsets.run() }
      }
      group.addTask { [context] in
        let pause = Duration.milliseconds(GroupDirectory.upkeepMilliseconds)
        while (try? await Task.sleep(for: pause, clock: .continuous)) != nil {
          await context.upkeepGate.pass {
            await context.groups.upkeep(context.workers)
            await context.groupOffsets.upkeep(context)
          }
        }
      }
      await context.admin.run()
      group.cancelAll()
    }
  }

  /// Loads certificates, keys, client authorities and revocation lists again; what is bad leaves the old ones in
  /// force and is logged. Open connections go on, but for revoked clients.
  package func reloadCertificates() {
    certificates.look(force: true)
    tokenListener?.certificates.look(force: true)
  }

  /// Stops in order: nothing accepted is lost, every open stream is told. Returns when all is closed.
  package func stop() async {
    context.health.enter(.draining)
    context.logger.info("draining")
    context.partitioning.stop()
    context.streams.goAway(deadlineMilliseconds: configuration.drainMilliseconds)
    let deadline = NIODeadline.now() + .milliseconds(configuration.drainMilliseconds)
    async let ofTokens: Void? = tokenListener?.server.drain(deadline: deadline)
    await server.drain(deadline: deadline)
    _ = await ofTokens
    await server.close()
    await tokenListener?.server.close()
    await gateway.close()
    await operations.close()
    context.admin.finish()
    await context.groupOffsets.close()
    await context.plugins.close()
    await context.groups.stop()
    await context.workers.stop()
    await store.close()
    await context.upkeepGate.close()
    try? await group.shutdownGracefully()
    context.logger.info("stopped")
  }

  /// Ends as a killed process does: nothing more is synced, nobody is told, the next start recovers. For
  /// tests in the process (SkeinTestKit).
  package func kill() async {
    context.health.enter(.failed)
    context.partitioning.stop()
    await context.groups.stop()
    await context.workers.abandon()
    await server.close()
    await tokenListener?.server.close()
    await gateway.close()
    await operations.close()
    context.admin.finish()
    await context.groupOffsets.close()
    await context.plugins.close()
    await store.close()
    await context.upkeepGate.close()
    try? await group.shutdownGracefully()
  }
}
