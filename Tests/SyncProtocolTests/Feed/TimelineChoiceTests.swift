// The words that a timeline takes, from the schema's declarations.

import SyncProtocol
import TestSupport
import Testing

@Suite struct TimelineChoiceTests {
    @Test func everyKindThatATimelineCanShow_andItsBeginning_isAChoice() throws {
        let choices = KindPattern.choices(.testing)
        #expect(Set(choices).count == choices.count)
        for one in ["client.*", "client.created", "client.on_hold", "deal.won", "sync.*", "sync.superseded", "sync.rejected", "document.*"]
        {
            #expect(choices.contains(one), "\(one)")
        }
        // What is on no timeline, and what never leaves the server.
        for one in ["sync.rescoped", "account.created", "account.*", "number_sequence.*", "*", "client", ""] {
            #expect(!choices.contains(one), "\(one)")
        }
        for entity in Schema.testing.entities where entity.isServed {
            for operation in ["*", "created", "updated", "deleted", "restored"] { #expect(choices.contains("\(entity.name).\(operation)")) }
            for transition in entity.machine?.transitions ?? [] { #expect(choices.contains(transition.kind)) }
        }
        #expect(try KindPattern("client.*", schema: .testing).beginning == "client.")
        #expect(try KindPattern("client.on_hold", schema: .testing).beginning == nil)
    }

    @Test(arguments: ["client", "client.", "client.winked", "Client.created", "client.created ", "client.%", "client.*.*"])
    func unknownKind_isRefused_withTheKindsOfItsBeginning(text: String) {
        let error = #expect(throws: UnknownTimelineChoice.self) { try KindPattern(text, schema: .testing) }
        #expect(error?.name == "kind")
        if text.hasPrefix("client") {
            #expect(error?.choices.first == "client.*" && error?.choices.contains("client.on_hold") == true)
            #expect(error?.choices.contains { !$0.hasPrefix("client.") } == false)
        } else {
            #expect(error?.choices.contains("client.*") == true && error?.choices.contains("client.created") == false)
        }
    }

    @Test func unknownCategoryAndLevel_areRefused_withThoseThatThereAre() throws {
        try Schema.testing.requireCategory("relationship")
        try Schema.testing.requireLevel("minor")
        let category = #expect(throws: UnknownTimelineChoice.self) { try Schema.testing.requireCategory("friendship") }
        #expect(category?.requirement.contains("admin, ") == true && category?.requirement.contains("relationship") == true)
        let level = #expect(throws: UnknownTimelineChoice.self) { try Schema.testing.requireLevel("Minor") }
        #expect(level?.requirement == "is one of major, minor")
    }
}
