// Pages below swiftui/.
@_exported import AppleFoundation
@_exported import UniformTypeIdentifiers

// swiftui/view
@MainActor @preconcurrency public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Body { get }
}

extension Never: View {
    public var body: Never { return fatalError() }
}

// swiftui/viewbuilder
@resultBuilder public enum ViewBuilder {
    public static func buildBlock<each Content: View>(_ content: repeat each Content) -> TupleView { TupleView() }
    public static func buildIf(_ content: TupleView?) -> TupleView { TupleView() }
    public static func buildEither(first: some View) -> TupleView { TupleView() }
    public static func buildEither(second: some View) -> TupleView { TupleView() }
}

public struct TupleView: View {  // swiftui/tupleview
    public var body: Never { return fatalError() }
}

// swiftui/app, swiftui/scene, swiftui/windowgroup
@MainActor @preconcurrency public protocol App {
    associatedtype Body: Scene
    var body: Body { get }
    init()
}
extension App {
    public static func main() {}
}
@MainActor @preconcurrency public protocol Scene {}
public struct WindowGroup: Scene {
    public init(@ViewBuilder content: () -> some View) {}
}

// MARK: state

@propertyWrapper public struct State<Value> {  // swiftui/state
    public init(wrappedValue value: Value) {}
    public init(initialValue value: Value) {}
    public var wrappedValue: Value {
        get { fatalError() }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { fatalError() }
}

@propertyWrapper public struct Binding<Value> {  // swiftui/binding
    public init(get: @escaping @Sendable () -> Value, set: @escaping @Sendable (Value) -> Void) {}
    public var wrappedValue: Value {
        get { fatalError() }
        nonmutating set {}
    }
}

@dynamicMemberLookup @propertyWrapper public struct Bindable<Value: AnyObject> {  // swiftui/bindable
    public init(wrappedValue: Value) {}
    public var wrappedValue: Value { fatalError() }
    public var projectedValue: Bindable<Value> { self }
    public subscript<Subject>(dynamicMember path: ReferenceWritableKeyPath<Value, Subject>) -> Binding<Subject> {
        fatalError()
    }
}

// swiftui/environment
@propertyWrapper public struct Environment<Value> {
    public init(_ keyPath: KeyPath<EnvironmentValues, Value>) {}
    public var wrappedValue: Value { fatalError() }
}

public struct EnvironmentValues {  // swiftui/environmentvalues
    public var scenePhase: ScenePhase { fatalError() }  // swiftui/environmentvalues/scenephase
}

public enum ScenePhase: Comparable, Hashable, Sendable {  // swiftui/scenephase
    case background, inactive, active
}

// MARK: views

public struct LocalizedStringKey: ExpressibleByStringInterpolation {  // swiftui/localizedstringkey
    public init(stringLiteral value: String) {}
}

public struct Text: View {  // swiftui/text
    public init(_ key: LocalizedStringKey) {}  // swiftui/text/init(_:tablename:bundle:comment:)
    public init(verbatim content: String) {}  // swiftui/text/init(verbatim:)
    public var body: Never { return fatalError() }
}

public struct Image: View {  // swiftui/image
    public init(systemName: String) {}
    public var body: Never { return fatalError() }
}

public struct Label: View {  // swiftui/label/init(_:systemimage:)
    public init(_ titleKey: LocalizedStringKey, systemImage name: String) {}
    public var body: Never { return fatalError() }
}

public struct Spacer: View {  // swiftui/spacer
    public init() {}
    public var body: Never { return fatalError() }
}

public struct VStack: View {  // swiftui/vstack/init(alignment:spacing:content:)
    public init(spacing: CGFloat? = nil, @ViewBuilder content: () -> some View) {}
    public var body: Never { return fatalError() }
}

public struct HStack: View {  // swiftui/hstack/init(alignment:spacing:content:)
    public init(spacing: CGFloat? = nil, @ViewBuilder content: () -> some View) {}
    public var body: Never { return fatalError() }
}

public struct List: View {  // swiftui/list/init(content:)
    public init(@ViewBuilder content: () -> some View) {}
    public var body: Never { return fatalError() }
}

public struct Section: View {  // swiftui/section
    public init(@ViewBuilder content: () -> some View) {}
    public init(_ titleKey: LocalizedStringKey, @ViewBuilder content: () -> some View) {}
    public init(@ViewBuilder content: () -> some View, @ViewBuilder footer: () -> some View) {}
    public var body: Never { return fatalError() }
}

// swiftui/foreach/init(_:id:content:)
public struct ForEach<Data: RandomAccessCollection, ID: Hashable>: View {
    public init(
        _ data: Data, id: KeyPath<Data.Element, ID>, @ViewBuilder content: @escaping (Data.Element) -> some View
    ) {}
    public var body: Never { return fatalError() }
}

public struct NavigationStack: View {  // swiftui/navigationstack/init(root:)
    public init(@ViewBuilder root: () -> some View) {}
    public var body: Never { return fatalError() }
}

public struct TabView: View {  // swiftui/tabview/init(content:)
    public init(@ViewBuilder content: () -> some View) {}
    public var body: Never { return fatalError() }
}

public struct ProgressView: View {  // swiftui/progressview
    public init(_ titleKey: LocalizedStringKey) {}
    public init<V: BinaryFloatingPoint>(value: V?, total: V = 1.0, @ViewBuilder label: () -> some View) {}
    public var body: Never { return fatalError() }
}

public struct Button: View {  // swiftui/button/init(_:action:)
    public init(_ titleKey: LocalizedStringKey, action: @escaping @MainActor () -> Void) {}
    public var body: Never { return fatalError() }
}

public struct Toggle: View {  // swiftui/toggle/init(_:ison:)
    public init(_ titleKey: LocalizedStringKey, isOn: Binding<Bool>) {}
    public var body: Never { return fatalError() }
}

public struct Picker: View {  // swiftui/picker/init(_:selection:content:)
    public init<Value: Hashable>(
        _ titleKey: LocalizedStringKey, selection: Binding<Value>, @ViewBuilder content: () -> some View
    ) {}
    public var body: Never { return fatalError() }
}

public struct ShareLink: View {  // swiftui/sharelink/init(_:item:subject:message:)
    public init(_ titleKey: LocalizedStringKey, item: URL) {}
    public var body: Never { return fatalError() }
}

// MARK: modifiers

public struct Color: Sendable {}  // swiftui/color
public protocol ShapeStyle {}  // swiftui/shapestyle
extension Color: ShapeStyle {}
extension ShapeStyle where Self == Color {
    public static var red: Color { Color() }
    public static var green: Color { Color() }
    public static var orange: Color { Color() }
}

public struct Font: Sendable {  // swiftui/font
    public static let largeTitle = Font()
    public static let footnote = Font()
}

public enum TextAlignment: Sendable {  // swiftui/textalignment
    case leading, center, trailing
}

public struct AccessibilityChildBehavior: Sendable {  // swiftui/accessibilitychildbehavior
    public static let combine = AccessibilityChildBehavior()
}

// swiftui/view, each by its name
extension View {
    public func padding() -> some View { self }
    public func font(_ font: Font?) -> some View { self }
    public func foregroundStyle(_ style: some ShapeStyle) -> some View { self }
    public func monospacedDigit() -> some View { self }
    public func multilineTextAlignment(_ alignment: TextAlignment) -> some View { self }
    public func disabled(_ disabled: Bool) -> some View { self }
    public func tag(_ tag: some Hashable) -> some View { self }
    public func navigationTitle(_ titleKey: LocalizedStringKey) -> some View { self }
    public func tabItem(@ViewBuilder _ label: () -> some View) -> some View { self }
    public func toolbar(@ViewBuilder content: () -> some View) -> some View { self }
    public func accessibilityHidden(_ hidden: Bool) -> some View { self }
    public func accessibilityElement(children: AccessibilityChildBehavior) -> some View { self }
    public func task(_ action: @escaping @MainActor @Sendable () async -> Void) -> some View { self }
    // swiftui/view/task(id:priority:_:)
    public func task(id: some Equatable, _ action: @escaping @MainActor @Sendable () async -> Void) -> some View {
        self
    }
    // swiftui/view/ondisappear(perform:)
    public func onDisappear(perform action: (() -> Void)? = nil) -> some View { self }
    public func onChange<V: Equatable>(of value: V, _ action: @escaping () -> Void) -> some View { self }
    public func fileImporter(
        isPresented: Binding<Bool>, allowedContentTypes: [UTType],
        onCompletion: @escaping (Result<URL, any Error>) -> Void
    ) -> some View { self }
}
