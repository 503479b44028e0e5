/// Hands a source's frames to one listener: the newest that it has not taken yet.
public struct FrameSender<Frame: Sendable>: Sendable {
    fileprivate let continuation: AsyncStream<Frame>.Continuation
    fileprivate let dropped: @Sendable () -> Void

    /// In the place of the frame before, where that still waits: it is dropped.
    public func send(_ frame: Frame) {
        if case .dropped = continuation.yield(frame) { drop() }
    }

    /// Says that a frame was dropped; for a source that drops some itself.
    public func drop() { dropped() }

    /// No more frames come.
    public func finish() { continuation.finish() }
}

/// Frames for one listener, and who sends them. `dropped` is told of each that nobody took; `stop` once, when nobody listens
/// any more.
public func frames<Frame: Sendable>(
    of: Frame.Type, dropped: @escaping @Sendable () -> Void, stop: @escaping @Sendable () -> Void
) -> (stream: AsyncStream<Frame>, sender: FrameSender<Frame>) {
    let (stream, continuation) = AsyncStream.makeStream(of: Frame.self, bufferingPolicy: .bufferingNewest(1))
    continuation.onTermination = { _ in stop() }
    return (stream, FrameSender(continuation: continuation, dropped: dropped))
}
