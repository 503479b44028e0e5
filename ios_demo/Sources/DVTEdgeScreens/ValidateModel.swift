import DVTEdge
import Foundation
import Observation

/// A picture that is read when its turn comes.
public typealias Picture = @Sendable () throws -> RGBImage

/// The files of a folder as pictures, sorted by name; what is none throws when it is read. Throws where there is no folder.
public func pictures(
    in folder: URL, decoding: @escaping @Sendable (Data) throws -> RGBImage
) throws -> [Picture] {
    let found = try FileManager.default.contentsOfDirectory(
        at: folder, includingPropertiesForKeys: nil, options: [.skipsHiddenFiles])
    let files = found.filter { !$0.hasDirectoryPath }.sorted { $0.lastPathComponent < $1.lastPathComponent }
    return files.map { file in { try decoding(try Data(contentsOf: file)) } }
}

/// Whether this device computes what the bundle says: its golden images against their logits, and a log of them, or of a folder
/// of pictures, through every stage, to take to `dvt-edge validate`.
@MainActor @Observable
public final class ValidateModel {
    public private(set) var running = false
    public private(set) var errors: [Float] = []  // the largest of a logit at each exit
    public private(set) var logged = 0
    public private(set) var unread = 0  // pictures that could not be read
    public private(set) var log: URL?
    public private(set) var failure: String?
    public var keepsPixels = false  // the user's own choice: the log then comes with the images
    public let tolerance: Double
    private let runtime: Runtime

    public init(_ runtime: Runtime) {
        self.runtime = runtime
        tolerance = runtime.bundle.manifest.golden.tolerance
    }

    /// The file of the log's pixels, where they are kept.
    public var pixels: URL? {
        guard let log, keepsPixels else { return nil }
        let file = log.appendingPathExtension("pixels")
        return FileManager.default.fileExists(atPath: file.path) ? file : nil
    }

    /// Whether every logit is near the golden one; nil before a run.
    public var passed: Bool? { errors.isEmpty ? nil : errors.allSatisfy { Double($0) <= tolerance } }

    /// Checks the golden images, and writes a new log: of `pictures`, or of the golden images without any. A bundle that has no
    /// golden images takes pictures only. `state` is asked before each image.
    public func run(
        _ logging: Logging, state: @MainActor () -> DeviceState, pictures: (@Sendable () throws -> [Picture])? = nil
    ) async {
        guard !running else { return }
        (running, errors, logged, unread, log, failure) = (true, [], 0, 0, nil, nil)
        defer { running = false }
        do {
            if pictures == nil || runtime.bundle.manifest.golden.images > 0 {
                errors = try await runtime.goldenErrors()
            }
            let images: [Picture] =
                if let pictures {
                    try await Task.detached(operation: pictures).value
                } else {
                    try await goldenImages(runtime.bundle).map { image in { image } }
                }
            for stage in runtime.bundle.manifest.stages.indices { try await runtime.load(stage) }
            let (url, writer) = try await logging.begin(
                runtime, state(), everyStage: true, data: pictures == nil ? "golden images of the bundle" : nil,
                pixels: keepsPixels)
            try await write(writer, state, images)
            log = url
        } catch is CancellationError {
            return
        } catch {
            failure = words(error)
        }
    }

    /// Ids are running numbers: a log names no file.
    private func write(
        _ log: LogWriter, _ state: @MainActor () -> DeviceState, _ images: [Picture]
    ) async throws {
        let clock = LogClock()
        try await log.write(.state(StateRecord(state(), clock, idle: true)))
        for (number, picture) in images.enumerated() {
            do {
                let image = try await Task.detached(operation: picture).value
                let result = try await runtime.run(image, state: state(), everyStage: true)
                let stored = try await log.writePixels(result.pixels)
                try await log.write(
                    .image(ImageRecord(result, id: "\(number)", timeS: clock.timeS, image: stored)))
                logged += 1
            } catch let error where !(error is CancellationError) && (error as? DvtEdgeError)?.kind != .log {
                try await log.write(.error(ErrorRecord(error, id: "\(number)", timeS: clock.timeS)))
                unread += 1
            }
        }
    }
}
