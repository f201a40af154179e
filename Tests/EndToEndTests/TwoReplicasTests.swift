// Two offline replicas, one server, the real programs: identical in the end.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@Suite(.serialized) struct TwoReplicasTests {
    @Test func offlineWork_onBothSides_convergesAndShowsWhatDidNot() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let marcus = try await company.enrolled("marcus", code: try await company.code(for: "marcus"))
            let client = try await olivia.json("add", "client", "name=Harbor", "tags=hotel,prospect")["id"]?.stringValue ?? ""
            let contact = try await olivia.json("add", "contact", "last_name=Ortiz", "first_name=Nina")["id"]?.stringValue ?? ""
            let doomed = try await olivia.json("add", "client", "name=Old mill")["id"]?.stringValue ?? ""
            try await olivia.json("add", "client_contact", "client=Harbor", "contact=\(contact)", "role=Buyer")
            try await olivia.json("add", "client_contact", "client=Old mill", "contact=\(contact)")
            try await olivia.json("sync")
            try await marcus.json("sync")
            #expect(await company.stop() == 0)
            let offline = try await marcus.run("sync")
            #expect(offline.code == 3 && offline.errors.contains("your work is safe"))

            // The same link, made twice; a client deleted while its contact is edited; tags; one last-writer field.
            let other = try await olivia.json("add", "contact", "last_name=Rita")["id"]?.stringValue ?? ""
            try await olivia.json("add", "client_contact", "client=\(client)", "contact=\(other)", "role=Owner")
            try await olivia.json("set", "contact", contact, "phone=+15550142", "job_title=VP")
            try await olivia.json("set", "client", client, "tags+=vip", "tags+=prospect")
            try await marcus.json("remove", "client", doomed)
            try await marcus.json("set", "client", client, "tags-=prospect", "tags-=hotel", "tags+=net30")
            try await marcus.json("set", "contact", contact, "job_title=Director")
            try await company.start()
            try await olivia.json("sync")
            let report = try await marcus.json("sync")
            #expect(report["rejected"] == 0 && report["accepted"] == 3)
            try await olivia.json("sync")
            for who in [olivia, marcus] {
                #expect(try await who.isIdentical())
                #expect(try await who.field("client", client, "tags") == ["net30", "prospect", "vip"])
                #expect(try await who.field("contact", contact, "job_title") == "Director")
                #expect(try await who.field("contact", contact, "phone") == "+15550142")
                #expect(try await who.json("list", "client_contact")["total"] == 2, "the link of the deleted client went with it")
                #expect(try await who.json("list", "client")["total"] == 1)
                #expect(try await who.json("pending")["total"] == 0)
                #expect(try await who.json("problems")["total"] == 0)
            }
            try await olivia.json("restore", "client", doomed)
            try await olivia.json("sync")
            try await marcus.json("sync")
            #expect(try await marcus.json("list", "client_contact")["total"] == 3)
            #expect(try await marcus.isIdentical())
        }
    }

    @Test func problem_isShownWithBothValues_andSettledByRetryEditOrDiscard() async throws {
        try await withCompany { company in
            let olivia = try await company.enrolled("olivia", code: await company.ownerCode)
            let marcus = try await company.enrolled("marcus", code: try await company.code(for: "marcus"))
            var clients: [String] = []
            for name in ["One", "Two", "Three"] {
                clients.append(try await olivia.json("add", "client", "name=\(name)", "notes=base")["id"]?.stringValue ?? "")
            }
            try await olivia.json("sync")
            try await marcus.json("sync")
            for client in clients {
                try await olivia.json("set", "client", client, "notes=olivia")
                try await marcus.json("set", "client", client, "notes=marcus")
            }
            try await olivia.json("sync")
            let report = try await marcus.json("sync", codes: [1])
            #expect(report["rejected"] == 3)
            let problems = try await marcus.json("problems")["data"]?.arrayValue ?? []
            #expect(problems.count == 3)
            let conflict = problems[0]["violations"]?[0]?["params"]
            #expect(conflict?["base"] == "base" && conflict?["server"] == "olivia" && conflict?["yours"] == "marcus")
            for client in clients { #expect(try await marcus.field("client", client, "notes") == "olivia", "the view shows what is") }
            let ids = problems.compactMap { $0["id"]?.integerValue }.map(String.init)
            try await marcus.json("retry", ids[0])
            try await marcus.json("edit", ids[1], "notes=both of us")
            try await marcus.json("discard", ids[2])
            #expect(try await marcus.json("problems")["total"] == 0)
            let second = try await marcus.json("sync")
            #expect(second["accepted"] == 2)
            try await olivia.json("sync")
            let values = try await [
                olivia.field("client", clients[0], "notes"), olivia.field("client", clients[1], "notes"),
                olivia.field("client", clients[2], "notes"),
            ]
            #expect(values == ["marcus", "both of us", "olivia"])
            #expect(try await marcus.isIdentical())
        }
    }
}
