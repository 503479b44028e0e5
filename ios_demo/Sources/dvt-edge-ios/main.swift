import DVTEdge
import DVTEdgeOnnxRuntime
import Foundation

// The package at work on Linux, for tests and benchmarks; not part of an app.

let usage = """
    dvt-edge-ios open                               a path a line in (JSON strings), what opening each says out
    dvt-edge-ios log BUNDLE IMAGES OUT              a device log of a bundle's run over raw (n, size, size, 3) pixels
    dvt-edge-ios preprocess RGB WIDTH HEIGHT SIZE RESIZE TIMES OUT    milliseconds each, and the pixels
    dvt-edge-ios glue BUNDLE TIMES                  milliseconds outside the engine an image
    DVT_EDGE_ONNXRUNTIME names libonnxruntime.so where a bundle is run.
    """

func bytes(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

func runtime(_ path: String, _ point: String? = nil) throws -> (Runtime, OnnxRuntime) {
    let engine = try OnnxRuntime(ProcessInfo.processInfo.environment["DVT_EDGE_ONNXRUNTIME"] ?? "libonnxruntime.so")
    return (try Runtime(try CascadeBundle.open(path), operatingPoint: point, load: engine.load), engine)
}

/// The error's name, or "opens"; everything that a bundle holds is read.
func opening(_ path: String) -> [String] {
    do {
        let bundle = try CascadeBundle.open(path)
        _ = try bundle.labels()
        for stage in bundle.manifest.stages.indices {
            if bundle.manifest.golden.images > 0 { _ = try bundle.golden(stage) }
            _ = try bundle.artifact(stage)
        }
        return ["opens", ""]
    } catch {
        return [error.name, error.message]
    }
}

func openAll() throws {
    while let line = readLine() {
        let path = try JSONDecoder().decode(String.self, from: Data(line.utf8))
        print(String(decoding: try JSONEncoder().encode(opening(path)), as: UTF8.self))
        fflush(nil)
    }
}

func log(_ path: String, _ images: String, _ out: String) async throws {
    let (runtime, engine) = try runtime(path)
    try await runtime.prewarm()
    let size = runtime.bundle.manifest.imageSize(0).size, each = 3 * size * size
    let header = try await LogHeader(
        runtime, app: "dvt-edge-ios 0", engine: "onnxruntime \(engine.version)", device: "Linux", os: "Linux",
        threads: 1,
        pixels: "\(URL(fileURLWithPath: out).lastPathComponent).pixels")
    let log = try LogWriter(out, header)
    let clock = LogClock()
    try await log.write(
        .state(StateRecord(timeS: clock.timeS, idle: true, screenOn: true, charging: true, awakeS: clock.awakeS)))
    let content = try bytes(images)
    for (number, start) in stride(from: 0, to: content.count, by: each).enumerated() {
        let image = try RGBImage(width: size, height: size, pixels: Array(content[start..<start + each]))
        let result = try await runtime.run(image)
        let stored = try await log.writePixels(result.pixels)
        let record = ImageRecord(result, id: "\(number)", timeS: clock.timeS, image: stored)
        try await log.write(.image(record))
    }
}

func preprocessing(_ arguments: [String]) throws {
    let numbers = arguments[1...5].map { Int($0)! }
    let image = try RGBImage(width: numbers[0], height: numbers[1], pixels: try bytes(arguments[0]))
    var pixels: [UInt8] = []
    for _ in 0..<numbers[4] {
        let began = ContinuousClock.now
        pixels = try preprocess(image, size: numbers[2], resize: numbers[3])
        print((ContinuousClock.now - began) / .milliseconds(1))
    }
    try Data(pixels).write(to: URL(fileURLWithPath: arguments[6]))
}

func glue(_ path: String, _ times: Int) async throws {
    let (runtime, _) = try runtime(path)
    try await runtime.prewarm()
    let size = runtime.bundle.manifest.imageSize(0).size
    for number in 0..<times {
        let pixels = (0..<3 * size * size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ number &* 17) }
        let result = try await runtime.run(RGBImage(width: size, height: size, pixels: pixels), operatingPoint: "full")
        print(result.glueMs + result.preprocessMs)
    }
}

let arguments = Array(CommandLine.arguments.dropFirst())
do {
    switch (arguments.first, arguments.count) {
    case ("open", 1): try openAll()
    case ("log", 4): try await log(arguments[1], arguments[2], arguments[3])
    case ("preprocess", 8): try preprocessing(Array(arguments.dropFirst()))
    case ("glue", 3): try await glue(arguments[1], Int(arguments[2])!)
    default:
        print(usage)
        exit(2)
    }
} catch {
    FileHandle.standardError.write(Data("error: \(error)\n".utf8))
    exit(2)
}
