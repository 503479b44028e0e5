@_exported import AppleFoundation
import SwiftUI

// photosui/phpickerfilter-swift.struct
public struct PHPickerFilter: Sendable {
    public static let images = PHPickerFilter()
}

// photosui/photospickeritem
public struct PhotosPickerItem: Equatable, Hashable, Sendable {
    // photosui/photospickeritem/loadtransferable(type:)
    public func loadTransferable<T: Sendable>(type: T.Type) async throws -> T? { fatalError() }
}

// photosui/photospicker/init(_:selection:matching:preferreditemencoding:)
public struct PhotosPicker: View {
    public init(_ titleKey: LocalizedStringKey, selection: Binding<PhotosPickerItem?>, matching: PHPickerFilter? = nil)
    {}
    public var body: Never { return fatalError() }
}
