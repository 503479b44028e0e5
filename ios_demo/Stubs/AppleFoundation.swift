// What Foundation has on Apple's systems and not on Linux. Pages below foundation/ and corefoundation/.
@_exported import Foundation

public typealias CFTypeRef = AnyObject  // corefoundation/cftyperef
public typealias CFString = String  // corefoundation/cfstring
public typealias CFData = NSData  // corefoundation/cfdata
public typealias CFDictionary = NSDictionary  // corefoundation/cfdictionary
public typealias CFAllocator = NSObject  // corefoundation/cfallocator
public typealias OSType = UInt32  // coreservices/ostype

extension ProcessInfo {
    // foundation/processinfo/thermalstate-swift.enum
    public enum ThermalState: Int, Sendable {
        case nominal, fair, serious, critical
    }

    // foundation/processinfo/thermalstate-swift.property
    public var thermalState: ThermalState { fatalError() }
    public var isLowPowerModeEnabled: Bool { fatalError() }  // foundation/processinfo/islowpowermodeenabled
}

extension URL {
    public static var cachesDirectory: URL { fatalError() }  // foundation/url/cachesdirectory
    public static var documentsDirectory: URL { fatalError() }  // foundation/url/documentsdirectory
    // foundation/url/startaccessingsecurityscopedresource()
    public func startAccessingSecurityScopedResource() -> Bool { fatalError() }
    // foundation/url/stopaccessingsecurityscopedresource()
    public func stopAccessingSecurityScopedResource() {}
}

extension String {
    // swift/string/localizationvalue
    public struct LocalizationValue: ExpressibleByStringInterpolation, Sendable {
        public init(stringLiteral value: String) {}
    }

    // swift/string/init(localized:table:bundle:locale:comment:)
    public init(localized keyAndValue: LocalizationValue) { fatalError() }
}
