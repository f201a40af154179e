// Test support: holds a value against a JSON Schema, as far as the server's own document uses the language.

import Foundation
import SyncProtocol

struct JSONSchemaCheck {
    /// The whole document, for references.
    let document: JSONValue

    /// What is wrong, each with its path; empty when the value is as the schema says.
    func problems(_ value: JSONValue, _ schema: JSONValue, at path: String = "$") -> [String] {
        if let reference = schema["$ref"]?.stringValue {
            guard let target = resolve(reference) else { return ["\(path): \(reference) leads nowhere"] }
            return problems(value, target, at: path)
        }
        var found: [String] = []
        if let options = schema["anyOf"]?.arrayValue, !options.contains(where: { problems(value, $0, at: path).isEmpty }) {
            found.append("\(path): \(value.canonicalText) is none of the alternatives")
        }
        if let type = schema["type"] {
            let types = type.arrayValue?.compactMap(\.stringValue) ?? [type.stringValue].compactMap { $0 }
            if !types.contains(where: { Self.isType(value, $0) }) { return found + ["\(path): \(value.canonicalText) is not \(types)"] }
        }
        if let choices = schema["enum"]?.arrayValue, !choices.contains(value) {
            found.append("\(path): \(value.canonicalText) is no choice")
        }
        if let constant = schema["const"], constant != value { found.append("\(path): is not \(constant.canonicalText)") }
        switch value {
        case .string(let text): found += textProblems(text, schema, path)
        case .integer(let number):
            if let minimum = schema["minimum"]?.integerValue, number < minimum { found.append("\(path): \(number) < \(minimum)") }
            if let maximum = schema["maximum"]?.integerValue, number > maximum { found.append("\(path): \(number) > \(maximum)") }
        case .array(let items):
            if let maximum = schema["maxItems"]?.integerValue, items.count > maximum { found.append("\(path): too many items") }
            if let minimum = schema["minItems"]?.integerValue, items.count < minimum { found.append("\(path): too few items") }
            if schema["uniqueItems"] == true, Set(items).count != items.count { found.append("\(path): repeats items") }
            if let schema = schema["items"] {
                for (index, item) in items.enumerated() { found += problems(item, schema, at: "\(path)[\(index)]") }
            }
        case .object(let members):
            for name in schema["required"]?.arrayValue?.compactMap(\.stringValue) ?? [] where members[name] == nil {
                found.append("\(path): lacks \(name)")
            }
            for (name, member) in members {
                if let schema = schema["properties"]?[name] {
                    found += problems(member, schema, at: "\(path).\(name)")
                } else if schema["additionalProperties"] == false {
                    found.append("\(path): has \(name)")
                } else if let schema = schema["additionalProperties"], schema.objectValue != nil {
                    found += problems(member, schema, at: "\(path).\(name)")
                }
            }
        default: break
        }
        return found
    }

    func resolve(_ reference: String) -> JSONValue? {
        guard reference.hasPrefix("#/") else { return nil }
        var place: JSONValue? = document
        for part in reference.dropFirst(2).split(separator: "/") { place = place?[String(part)] }
        return place
    }

    private func textProblems(_ text: String, _ schema: JSONValue, _ path: String) -> [String] {
        var found: [String] = []
        let length = text.unicodeScalars.count
        if let maximum = schema["maxLength"]?.integerValue, length > maximum { found.append("\(path): longer than \(maximum)") }
        if let minimum = schema["minLength"]?.integerValue, length < minimum { found.append("\(path): shorter than \(minimum)") }
        if schema["format"] == "uuid", Identifier(text) == nil { found.append("\(path): \(text) is no UUID") }
        if let pattern = schema["pattern"]?.stringValue, text.range(of: pattern, options: .regularExpression) == nil {
            found.append("\(path): \(text) does not match \(pattern)")
        }
        return found
    }

    private static func isType(_ value: JSONValue, _ type: String) -> Bool {
        switch (type, value) {
        case ("null", .null), ("boolean", .bool), ("integer", .integer), ("number", .integer), ("number", .decimal), ("string", .string),
            ("array", .array), ("object", .object):
            true
        default: false
        }
    }
}
