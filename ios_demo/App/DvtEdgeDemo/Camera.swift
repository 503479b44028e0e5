import AVFoundation
import Observation

/// The back camera's frames in 420f, upright. A frame that nobody waits for is dropped by the camera.
@MainActor @Observable
final class Camera {
    struct Frame: @unchecked Sendable {
        let buffer: CVPixelBuffer  // read by one task
        let rotation: Int  // clockwise, in degrees
    }

    private(set) var failure: String?

    /// Frames for as long as somebody asks for them. Says why in `failure` where there are none.
    func frames() -> AsyncStream<Frame> {
        AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            Task {
                guard await AVCaptureDevice.requestAccess(for: .video) else {
                    failure = String(localized: "camera.denied")
                    continuation.finish()
                    return
                }
                guard let capture = Capture(continuation) else {
                    failure = String(localized: "camera.none")
                    continuation.finish()
                    return
                }
                continuation.onTermination = { _ in capture.stop() }
                capture.start()
            }
        }
    }
}

/// A capture session on a queue of its own.
private final class Capture: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate, @unchecked Sendable {
    private let session = AVCaptureSession()
    private let queue = DispatchQueue(label: "camera")
    private let continuation: AsyncStream<Camera.Frame>.Continuation

    init?(_ continuation: AsyncStream<Camera.Frame>.Continuation) {
        self.continuation = continuation
        super.init()
        let output = AVCaptureVideoDataOutput()
        guard let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back),
            let input = try? AVCaptureDeviceInput(device: device), session.canAddInput(input),
            session.canAddOutput(output)
        else { return nil }
        session.addInput(input)
        session.addOutput(output)
        output.videoSettings = [
            kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_420YpCbCr8BiPlanarFullRange
        ]
        output.alwaysDiscardsLateVideoFrames = true
        output.setSampleBufferDelegate(self, queue: queue)
    }

    func start() { queue.async { self.session.startRunning() } }
    func stop() { queue.async { self.session.stopRunning() } }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard let buffer = CMSampleBufferGetImageBuffer(sampleBuffer) else { return }
        // The sensor lies on its side; the app is upright.
        continuation.yield(Camera.Frame(buffer: buffer, rotation: 90))
    }
}
