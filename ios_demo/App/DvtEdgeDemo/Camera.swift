import AVFoundation
import DVTEdgeScreens
import Observation

/// The back camera's frames in 420f, upright. A frame that nobody waits for is dropped, by the camera or here, and told.
@MainActor @Observable
final class Camera {
    struct Frame: @unchecked Sendable {
        let buffer: CVPixelBuffer  // read by one task
        let rotation: Int  // clockwise, in degrees
    }

    private(set) var failure: String?

    /// Frames for as long as somebody asks for them. Says why in `failure` where there are none.
    func frames(dropped: @escaping @Sendable () -> Void) -> AsyncStream<Frame> {
        let capture = Capture()
        let (stream, sender) = DVTEdgeScreens.frames(of: Frame.self, dropped: dropped) { capture.stop() }
        Task {
            guard await AVCaptureDevice.requestAccess(for: .video) else {
                return end(sender, String(localized: "camera.denied"))
            }
            if !capture.start(sender) { end(sender, String(localized: "camera.none")) }
        }
        return stream
    }

    private func end(_ sender: FrameSender<Frame>, _ why: String) {
        failure = why
        sender.finish()
    }
}

/// A capture session on a queue of its own, which is started once at most.
private final class Capture: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate, @unchecked Sendable {
    private let session = AVCaptureSession()
    private let queue = DispatchQueue(label: "camera")
    private var sender: FrameSender<Camera.Frame>?  // on the queue; nil before the start and after a stop
    private var stopped = false  // on the queue

    /// False where there is no camera. After a stop it starts nothing.
    func start(_ sender: FrameSender<Camera.Frame>) -> Bool {
        let output = AVCaptureVideoDataOutput()
        guard let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back),
            let input = try? AVCaptureDeviceInput(device: device), session.canAddInput(input),
            session.canAddOutput(output)
        else { return false }
        session.addInput(input)
        session.addOutput(output)
        output.videoSettings = [
            kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_420YpCbCr8BiPlanarFullRange
        ]
        output.alwaysDiscardsLateVideoFrames = true
        output.setSampleBufferDelegate(self, queue: queue)
        queue.async {
            if self.stopped { return }
            self.sender = sender
            self.session.startRunning()
        }
        return true
    }

    func stop() {
        queue.async {
            (self.stopped, self.sender) = (true, nil)
            self.session.stopRunning()
        }
    }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard let buffer = CMSampleBufferGetImageBuffer(sampleBuffer) else { return }
        // The sensor lies on its side; the app is upright.
        sender?.send(Camera.Frame(buffer: buffer, rotation: 90))
    }

    func captureOutput(
        _ output: AVCaptureOutput, didDrop sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        sender?.drop()
    }
}
