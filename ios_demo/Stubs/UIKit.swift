@_exported import CoreGraphics

// uikit/uiapplication
@MainActor open class UIApplication: NSObject {
    open class var shared: UIApplication { fatalError() }  // uikit/uiapplication/shared
    open var isIdleTimerDisabled: Bool {  // uikit/uiapplication/isidletimerdisabled
        get { fatalError() }
        set { fatalError() }
    }
}

// uikit/uidevice
@MainActor open class UIDevice: NSObject {
    // uikit/uidevice/batterystate-swift.enum
    public enum BatteryState: Int, Sendable {
        case unknown, unplugged, charging, full
    }

    open class var current: UIDevice { fatalError() }  // uikit/uidevice/current
    open var isBatteryMonitoringEnabled: Bool {  // uikit/uidevice/isbatterymonitoringenabled
        get { fatalError() }
        set { fatalError() }
    }
    open var batteryLevel: Float { fatalError() }  // uikit/uidevice/batterylevel
    open var batteryState: BatteryState { fatalError() }  // uikit/uidevice/batterystate-swift.property
    open var systemName: String { fatalError() }  // uikit/uidevice/systemname
    open var systemVersion: String { fatalError() }  // uikit/uidevice/systemversion
}
