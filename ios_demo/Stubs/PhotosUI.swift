@_exported import AppleFoundation
import SwiftUI

// photosui/phpickerfilter-swift.struct
public struct PHPickerFilter: Sendable {
    public static let images = PHPickerFilter()
}

// photosui/photospickeritem
public struct PhotosPickerItem: Equatable, Hashable, Sendable {
    // photosui/photospickeritem/encodingdisambiguationpolicy
    public struct EncodingDisambiguationPolicy: Sendable {
        public static let automatic = EncodingDisambiguationPolicy()
        public static let compatible = EncodingDisambiguationPolicy()
    }

    // photosui/photospickeritem/loadtransferable(type:)
    public func loadTransferable<T: Sendable>(type: T.Type) async throws -> T? { fatalError() }
}

// photosui/photospicker/init(_:selection:matching:preferreditemencoding:)
public struct PhotosPicker: View {
    public init(
        _ titleKey: LocalizedStringKey, selection: Binding<PhotosPickerItem?>, matching filter: PHPickerFilter? = nil,
        preferredItemEncoding: PhotosPickerItem.EncodingDisambiguationPolicy = .automatic
    ) {}
    public var body: Never { return fatalError() }
}
