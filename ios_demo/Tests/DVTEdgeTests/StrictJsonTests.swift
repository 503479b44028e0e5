import Testing

@testable import DVTEdge

/// One dialect, whatever a language's own parser takes.
@Test(arguments: goldenCases("json/index.json"))
func strictJSON(_ json: JSON) throws {
    let bytes = content(of: json)
    if json["accepted"].bool! {
        let value = try parseJSON(bytes, "x")
        if json["value"] != .null { #expect(value == json["value"]) }
    } else {
        #expect {
            try parseJSON(bytes, "x")
        } throws: { error in
            guard let error = error as? DvtEdgeError, error.kind == .schema else { return false }
            return error.message.unicodeScalars.allSatisfy(\.isPrintable) && error.message.count < 300
        }
    }
}

/// No bytes make the parser trap: every prefix of a text, and every one with a byte changed.
@Test func strictJSONNeverTraps() {
    for number in [Int.min, .max] {
        #expect(kind { _ = try parseJSON(Array("\(number)".utf8), "x") } == .schema)
    }
    let text = Array(#"{"a":[1,-2.5e+3,"\u00e9\ud83d\ude00\n",true,null,{"b":{}}]}"#.utf8)
    for end in text.indices {
        #expect(throws: DvtEdgeError.self) { try parseJSON(Array(text[..<end]), "x") }
        for byte in UInt8.min...UInt8.max {
            var changed = text
            changed[end] = byte
            _ = try? parseJSON(changed, "x")
        }
    }
}
