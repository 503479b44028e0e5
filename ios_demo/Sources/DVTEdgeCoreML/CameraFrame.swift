#if canImport(CoreVideo)
import CoreVideo
import DVTEdge

extension RGBImage {
    /// A camera's frame in 420f or 420v, turned clockwise by `rotation` degrees. Ask the camera for 420f.
    ///
    /// It is converted by the matrix that it names, BT.601 where it names none. Throws a `DataError` for frames in another
    /// format, or of another matrix than BT.601 and BT.709.
    public init(frame: CVPixelBuffer, rotation: Int = 0) throws(DvtEdgeError) {
        let ranges: [OSType: YUVRange] = [
            kCVPixelFormatType_420YpCbCr8BiPlanarFullRange: .full,
            kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange: .video,
        ]
        guard let range = ranges[CVPixelBufferGetPixelFormatType(frame)] else {
            throw DvtEdgeError(.data, "a frame in another format than 420f and 420v")
        }
        let matrix = try matrix(frame)
        CVPixelBufferLockBaseAddress(frame, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(frame, .readOnly) }
        self = try frameToRGB(
            y: plane(frame, 0, offset: 0, pixelStride: 1), u: plane(frame, 1, offset: 0, pixelStride: 2),
            v: plane(frame, 1, offset: 1, pixelStride: 2), width: CVPixelBufferGetWidth(frame),
            height: CVPixelBufferGetHeight(frame), rotation: rotation, range: range, matrix: matrix)
    }
}

/// The matrix that a frame names.
private func matrix(_ frame: CVPixelBuffer) throws(DvtEdgeError) -> YUVMatrix {
    let matrices = [
        kCVImageBufferYCbCrMatrix_ITU_R_601_4 as String: YUVMatrix.bt601,
        kCVImageBufferYCbCrMatrix_ITU_R_709_2 as String: YUVMatrix.bt709,
    ]
    guard let said = CVBufferCopyAttachment(frame, kCVImageBufferYCbCrMatrixKey, nil) else { return .bt601 }
    guard let name = said as? String, let matrix = matrices[name] else {
        throw DvtEdgeError(.data, "a frame of another matrix than BT.601 and BT.709")
    }
    return matrix
}

/// A plane of a locked frame from its byte `offset` on.
private func plane(_ frame: CVPixelBuffer, _ index: Int, offset: Int, pixelStride: Int) -> Plane {
    let row = CVPixelBufferGetBytesPerRowOfPlane(frame, index)
    let bytes = UnsafeRawBufferPointer(
        start: CVPixelBufferGetBaseAddressOfPlane(frame, index),
        count: row * CVPixelBufferGetHeightOfPlane(frame, index))
    return Plane(
        data: UnsafeRawBufferPointer(rebasing: bytes.dropFirst(offset)), rowStride: row, pixelStride: pixelStride)
}
#endif
