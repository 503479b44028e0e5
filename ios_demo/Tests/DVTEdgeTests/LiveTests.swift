import Foundation
import Testing

@testable import DVTEdge
@testable import DVTEdgeScreens

private let sure: [Float] = [9, 0, 0]
private let unsure: [Float] = [0, 0.1, 0]
private let image = try! RGBImage(width: 4, height: 4, pixels: [UInt8](repeating: 7, count: 48))

private func runtime(_ logits: [[Float]]) throws -> Runtime {
    try Runtime(try fakeBundle(), operatingPoint: "accurate", load: FakeEngine(logits).load)
}

@MainActor
struct Live {
    @Test func frames() async throws {
        let model = LiveModel(try runtime([unsure, sure, sure]))
        #expect(model.bars == [nil, nil, nil])
        await model.offer(DeviceState()) { image }
        #expect(
            model.result?.exit == 1 && model.histogram == [0, 1, 0] && model.bars[1] != nil && model.bars[2] == nil)
        await model.offer(DeviceState()) { throw DvtEdgeError(.data, "a frame in another format") }
        #expect(model.failure == "a frame in another format" && model.histogram == [0, 1, 0])
        await model.offer(DeviceState(), point: "eager") { image }
        #expect(model.failure == nil && model.histogram == [1, 1, 0])
    }

    /// A frame that comes while another is in work is dropped, and said.
    @Test func framesAreDropped() async throws {
        let model = LiveModel(try runtime([sure, sure, sure]))
        async let first: Void = model.offer(DeviceState()) {
            Thread.sleep(forTimeInterval: 0.2)
            return image
        }
        while !model.busy { await Task.yield() }
        await model.offer(DeviceState()) { image }
        await first
        #expect(model.dropped == 1 && model.histogram == [1, 0, 0])
        model.drop()  // one that the camera did not hand over
        #expect(model.dropped == 2)
    }

    /// What a frame takes to become an image is preprocessing; what a photo's decoding takes is not.
    @Test func conversionIsTimed() async throws {
        let model = LiveModel(try runtime([sure, sure, sure]))
        await model.offer(DeviceState()) {
            Thread.sleep(forTimeInterval: 0.2)
            return image
        }
        let frame = try #require(model.result)
        #expect(frame.preprocessMs >= 200 && frame.totalMs >= frame.preprocessMs && frame.glueMs >= 0)
        await model.answer(
            photo: {
                try await Task.sleep(for: .milliseconds(200))
                return image
            }, DeviceState())
        #expect(try #require(model.result).preprocessMs < 200)
    }

    /// A photo is answered though a frame is in work, and stays until the user goes back to the camera.
    @Test func photosStay() async throws {
        let model = LiveModel(try runtime([unsure, sure, sure]))
        async let frame: Void = model.offer(DeviceState(), point: "eager") {
            Thread.sleep(forTimeInterval: 0.5)
            return image
        }
        while !model.busy { await Task.yield() }
        await model.answer(photo: { image }, DeviceState())
        #expect(model.showsPhoto && model.result?.operatingPoint == "accurate")
        await frame
        await model.offer(DeviceState(), point: "eager") { image }
        #expect(model.result?.operatingPoint == "accurate" && model.histogram == [0, 1, 0] && model.dropped == 0)
        model.resume()
        #expect(!model.showsPhoto && model.result == nil)
        await model.offer(DeviceState(), point: "eager") { image }
        #expect(model.result?.operatingPoint == "eager")
    }

    /// A photo that cannot be loaded says so, with no other picture's answer beside it.
    @Test func photosThatFail() async throws {
        let model = LiveModel(try runtime([sure, sure, sure]))
        await model.offer(DeviceState()) { image }
        await model.answer(photo: { throw DvtEdgeError(.data, "not loaded") }, DeviceState())
        #expect(model.failure == "not loaded" && model.result == nil && model.showsPhoto)
        model.resume()
        #expect(model.failure == nil)
    }
}

/// The newest frame waits for its listener; those before it are dropped, each said.
@Test func theNewestFrame() async {
    let (dropped, stopped) = (Count(), Count())
    let (stream, sender) = frames(of: Int.self, dropped: { dropped.add() }, stop: { stopped.add() })
    for frame in 0..<5 { sender.send(frame) }
    var listener = stream.makeAsyncIterator()
    #expect(await listener.next() == 4)
    #expect(dropped.value == 4 && stopped.value == 0)
    sender.drop()
    #expect(dropped.value == 5)
    sender.finish()
    #expect(await listener.next() == nil)
    #expect(stopped.value == 1)
}

/// A listener that is cancelled stops the source, also before any frame came, and frames that come late are none's.
@Test(arguments: [0, 3])
func listenersThatGo(_ before: Int) async {
    let (dropped, stopped) = (Count(), Count())
    let (stream, sender) = frames(of: Int.self, dropped: { dropped.add() }, stop: { stopped.add() })
    let listener = Task {
        for await _ in stream {}
    }
    for frame in 0..<before { sender.send(frame) }
    listener.cancel()
    await listener.value
    let seen = dropped.value
    sender.send(7)
    #expect(stopped.value == 1 && dropped.value == seen)
}

private final class Count: @unchecked Sendable {
    private let lock = NSLock()
    private var count = 0

    func add() { lock.withLock { count += 1 } }

    var value: Int { lock.withLock { count } }
}
