// Pages below avfoundation/ and coremedia/.
@_exported import CoreVideo
@_exported import Dispatch

public class CMSampleBuffer {}  // coremedia/cmsamplebuffer

// coremedia/cmsamplebuffergetimagebuffer(_:)
public func CMSampleBufferGetImageBuffer(_ sbuf: CMSampleBuffer) -> CVImageBuffer? { fatalError() }

// avfoundation/avmediatype
public struct AVMediaType: Sendable {
    public static let video = AVMediaType()
}

// avfoundation/avcapturedevice
open class AVCaptureDevice: NSObject {
    public struct DeviceType: Sendable {
        public static let builtInWideAngleCamera = DeviceType()
    }

    public enum Position: Int, Sendable {
        case unspecified, back, front
    }

    // avfoundation/avcapturedevice/requestaccess(for:completionhandler:)
    open class func requestAccess(for mediaType: AVMediaType) async -> Bool { fatalError() }

    // avfoundation/avcapturedevice/default(_:for:position:)
    open class func `default`(
        _ deviceType: DeviceType, for mediaType: AVMediaType?, position: Position
    ) -> AVCaptureDevice? { fatalError() }
}

open class AVCaptureInput: NSObject {}  // avfoundation/avcaptureinput
open class AVCaptureOutput: NSObject {}  // avfoundation/avcaptureoutput
open class AVCaptureConnection: NSObject {}  // avfoundation/avcaptureconnection

// avfoundation/avcapturedeviceinput/init(device:)
open class AVCaptureDeviceInput: AVCaptureInput {
    public init(device: AVCaptureDevice) throws {}
}

// avfoundation/avcapturevideodataoutputsamplebufferdelegate
public protocol AVCaptureVideoDataOutputSampleBufferDelegate: NSObjectProtocol {
    // avfoundation/avcapturevideodataoutputsamplebufferdelegate/captureoutput(_:didoutput:from:)
    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection)
    // avfoundation/avcapturevideodataoutputsamplebufferdelegate/captureoutput(_:diddrop:from:)
    func captureOutput(
        _ output: AVCaptureOutput, didDrop sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection)
}

// avfoundation/avcapturevideodataoutput
open class AVCaptureVideoDataOutput: AVCaptureOutput {
    public override init() {}
    // swift-format-ignore: NeverUseImplicitlyUnwrappedOptionals
    open var videoSettings: [String: Any]! = nil
    open var alwaysDiscardsLateVideoFrames = false

    // avfoundation/avcapturevideodataoutput/setsamplebufferdelegate(_:queue:)
    open func setSampleBufferDelegate(
        _ sampleBufferDelegate: (any AVCaptureVideoDataOutputSampleBufferDelegate)?, queue: DispatchQueue?
    ) {}
}

// avfoundation/avcapturesession
open class AVCaptureSession: NSObject {
    public override init() {}
    open func canAddInput(_ input: AVCaptureInput) -> Bool { fatalError() }
    open func canAddOutput(_ output: AVCaptureOutput) -> Bool { fatalError() }
    open func addInput(_ input: AVCaptureInput) {}
    open func addOutput(_ output: AVCaptureOutput) {}
    open func startRunning() {}
    open func stopRunning() {}
}
