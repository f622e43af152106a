internal import CSkeinPlugin
internal import Glibc
internal import PluginABI
internal import Synchronization

/// Serves one broker with one plug-in.
///
/// Threads: the main thread reads frames and makes the calls that return at once (`place`, `step`, `store`, `cancel`, `end`);
/// a second one makes the control calls, one at a time, which may block; a third sends what the plug-in logs. A plug-in
/// that hangs the main thread is seen by the broker, whose call or ping is not answered, and which kills this process.
final class ChildServer: @unchecked Sendable {
  // Safe between threads: what changes is under a mutex or belongs to the main thread.
  private let socket: FrameSocket
  private let image: Int32
  private let landlock: Int32
  private let services: HostServices
  private let logged = ThreadSignal()
  private let instances = Mutex<[UInt32: LoadedInstance]>([:])
  private let control = ControlQueue()
  private var scratch = PlacementScratch()

  init(socket: Int32, image: Int32, landlock: Int32) {
    self.socket = FrameSocket(socket)
    self.image = image
    self.landlock = landlock
    let logged = logged
    services = HostServices(wake: .init { logged.raise() })
  }

  func run() -> Never {
    do {
      guard let (header, payload) = try socket.next(), header.kind == .hello else { _exit(0) }
      let hello = try ChildHello(parsing: payload)
      socket.send(ChildHelloed(landlock: UInt32(clamping: landlock)).frame())
      startThreads()
      let plugin = load(hello)
      control.start { [self] in carryOut($0, plugin) }
      while let (header, payload) = try socket.next() { try serve(header, payload) }
      _exit(0)
    } catch {
      HostProgram.say("skein: \(error)")
      _exit(65)
    }
  }

  private func load(_ hello: ChildHello) -> LoadedPlugin {
    do {
      let plugin = try LoadedPlugin.load(
        descriptor: image, id: hello.id, version: hello.pluginVersion, services: services)
      var writer = FrameWriter(.loaded)
      writer.put(plugin.abiMinor)
      socket.send(writer.finish())
      return plugin
    } catch {
      sendLog()
      socket.send(ChildMessages.refusal(.refused, instance: 0, call: 0, error))
      _exit(0)
    }
  }

  private func startThreads() {
    services.onCompletion(
      .init { [socket] call, status, result in
        socket.send(ChildMessages.completed(instance: 0, call: call, status: status, result))
      })
    HostProgram.thread { [self] in
      while true {
        logged.wait()
        sendLog()
      }
    }
  }

  private func sendLog() {
    while let line = services.log.next() { socket.send(ChildMessages.log(line)) }
  }

  // MARK: Main thread

  private func serve(_ header: ChildFrame.Header, _ payload: UnsafeRawBufferPointer) throws(ChildFrame
    .Malformed)
  {
    switch header.kind {
    case .place: try place(header, payload)
    case .step:
      guard let instance = instance(header.instance),
        try ChildStep.carryOut(payload, call: header.call, on: instance)
      else { return unsupported(header) }
    case .store:
      guard let instance = instance(header.instance),
        try ChildStep.carryOutStore(payload, call: header.call, on: instance)
      else { return unsupported(header) }
    case .end:
      var reader = FrameReader(payload)
      instance(header.instance)?.end(exchange: try reader.take(UInt64.self))
    case .cancel: instance(header.instance)?.cancel(call: header.call)
    case .ping:
      var pong = ChildPong()
      pong.calls = services.calls.counts
      pong.droppedLines = services.log.dropped
      pong.samples = services.metrics.samples()
      socket.send(pong.frame(call: header.call))
    case .create: control.add(.create(header, try ChildCreate(parsing: payload)))
    case .destroy: control.add(.destroy(header))
    case .quiesce: control.add(.quiesce(header))
    case .hello, .helloed, .loaded, .refused, .created, .destroyed, .placed, .malformed, .completed, .pong,
      .log:
      throw ChildFrame.Malformed("a frame of kind \(header.kind) at this point")
    }
  }

  private func instance(_ number: UInt32) -> LoadedInstance? {
    instances.withLock { $0[number] }
  }

  private func place(_ header: ChildFrame.Header, _ payload: UnsafeRawBufferPointer) throws(ChildFrame
    .Malformed)
  {
    let columns = try ChildPlace.columns(payload)
    var frame: [UInt8]?
    if let instance = instance(header.instance) {
      frame = scratch.place(columns, on: instance) { answers in
        var writer = FrameWriter(
          .placed, instance: header.instance, call: header.call, capacity: answers.count * 4)
        writer.put(raw: UnsafeRawBufferPointer(answers))
        return writer.finish()
      }
    }
    if frame == nil {
      var writer = FrameWriter(.malformed, instance: header.instance, call: header.call)
      frame = writer.finish()
    }
    if let frame { socket.send(frame) }
  }

  private func unsupported(_ header: ChildFrame.Header) {
    socket.send(
      ChildMessages.completed(
        instance: header.instance, call: header.call, status: SKEIN_UNSUPPORTED,
        UnsafeRawBufferPointer(start: nil, count: 0)))
  }

  // MARK: Control thread

  private func carryOut(_ command: ControlQueue.Command, _ plugin: LoadedPlugin) {
    switch command {
    case .create(let header, let create):
      do {
        let made = try LoadedInstance(
          plugin, kind: create.kind, number: UInt64(header.instance), config: create.config,
          members: ConfigTable(create.members))
        instances.withLock { $0[header.instance] = made }
        socket.send(
          ChildMessages.created(instance: header.instance, call: header.call, flags: made.tables.flags))
      } catch {
        sendLogSoon()
        socket.send(ChildMessages.refusal(.created, instance: header.instance, call: header.call, error))
      }
    case .destroy(let header):
      instances.withLock { $0.removeValue(forKey: header.instance) }?.destroy()
      var writer = FrameWriter(.destroyed, instance: header.instance, call: header.call)
      socket.send(writer.finish())
    case .quiesce(let header):
      if instance(header.instance)?.quiesce(header.call) != true { completeAtOnce(header) }
    }
  }

  private func completeAtOnce(_ header: ChildFrame.Header) {
    socket.send(
      ChildMessages.completed(
        instance: header.instance, call: header.call, status: SKEIN_OK,
        UnsafeRawBufferPointer(start: nil, count: 0)))
  }

  private func sendLogSoon() { logged.raise() }
}
