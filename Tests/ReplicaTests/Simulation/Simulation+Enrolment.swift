// Files that their server does not accept any more: it was restored to before they were enrolled, or somebody was shut out. Their
// members get a code sooner or later, and the same file goes on.

import Foundation
import ServerSupport
import SyncProtocol

@testable import Replica

extension Simulation {
    /// What a restore took of the people and their replicas; that somebody was shut out goes with it.
    func noteForgotten() async throws -> String {
        var forgotten: [String] = []
        for site in sites {
            guard let id = try await site.replica.replicaID, server.record("replica", id) == nil else { continue }
            forgotten.append(site.name)
            tally.count(.replicaForgotten)
            revokedForGood.remove(id)
            model?.revoked.remove(id)
        }
        return forgotten.isEmpty ? "" : ", without \(forgotten.joined(separator: ", "))"
    }

    /// Only whoever was forgotten or is shut out needs a code; that all tokens are void for a while passes.
    func mayEnrolAgain(_ site: SimulatedSite, _ refusal: String) async throws -> Bool {
        if refusal.contains("[unauthorized]") { return true }
        guard let id = try await site.replica.replicaID else { return false }
        return revokedForGood.contains(id)
    }

    // MARK: The first time

    /// Somebody new, with the network as it happens to be: whoever gets no answer, or dies on the way, tries again.
    func enroll(_ name: String, role: Role) async throws {
        let invitation = server.invite(name, role: role)
        roles[invitation.member] = role
        let build: Schema = chance.percent(50) ? .testing : .testingLater
        let site = try await open(name, member: invitation.member, error: chance.within(-60_000...60_000), build: build)
        site.code = invitation.code
        sites.append(site)
        // Something that is theirs until somebody else gets it.
        serverWrites([
            Change(
                "deal", newIdentifier(),
                .create(fields: [
                    "client": .string(pair[0].text), "title": .string("Of \(name)"), "currency": "USD",
                    "owner": .string(invitation.member.text),
                ]))
        ])
        let what = try await enrolFirst(site)
        note("\(name), \(role.rawValue) with version \(build.version), server with \(server.schema.version): \(what)")
    }

    /// Enrols and syncs for the first time, or goes on with that.
    func enrolFirst(_ site: SimulatedSite) async throws -> String {
        var what = ""
        if !site.isEnrolled {
            what = try await enrolAgain(site)
            site.isEnrolled = try await site.replica.isEnrolled
        }
        guard site.isEnrolled else {
            tally.count(.enrolmentFailed)
            return what
        }
        return "\(what), \(try await sync(site))"
    }

    /// With a sound network.
    func enrolInTheEnd(_ site: SimulatedSite) async throws {
        for number in 0..<3 where !site.isEnrolled {
            if number > 0 { site.code = nil }
            let what = try await attempt(site) { try await self.ask(site) }
            note("\(site.name) enrols in the end: \(what)")
            site.isEnrolled = try await site.replica.isEnrolled
        }
        guard site.isEnrolled else { throw BrokenInvariant(name: "I12", detail: "\(site.name) cannot enrol with a sound network") }
    }

    // MARK: Again

    /// With the network as it happens to be.
    func enrolAgain(_ site: SimulatedSite) async throws -> String {
        if chance.percent(40) {
            let (chance, tally) = (chance, tally)
            site.model.breaking { call, _ in call == .enroll ? Self.fault(.enroll, chance, tally) : nil }
        }
        let rate = meanwhileRate
        if !isMeanwhile { meanwhileRate = chance.percent(30) ? 30 : 0 }
        defer {
            site.model.breaking(nil)
            if !isMeanwhile { meanwhileRate = rate }
        }
        return try await attempt(site) { try await self.ask(site) }
    }

    /// The code of before is tried again, as a person does who saw no answer, or another one is got.
    private func ask(_ site: SimulatedSite) async throws -> String {
        if site.code == nil || chance.percent(25) { site.code = invite(site) }
        guard let code = site.code, let url = URL(string: "http://model") else { return "no code" }
        site.unsealed = []
        site.mayGetAnotherID = true
        do {
            guard let continued = try await site.replica.enroll(server: url, code: code, label: site.name) else {
                site.code = nil
                return "enrols"
            }
            site.code = nil
            tally.count(.enrolledAgain)
            if continued.keepsID { site.mayGetAnotherID = false }
            if !continued.keepsID, let id = try await site.replica.replicaID { laterIDs.insert(id) }
            return "\(site.name) enrols again\(continued.keepsID ? "" : " under a new id")"
        } catch let error as ReplicaError where error.message.contains("[code_") {
            site.code = nil
            throw error
        }
    }

    /// A member whom the restore took is made again under the id that the file knows.
    private func invite(_ site: SimulatedSite) -> String {
        let role = roles[site.member] ?? .owner
        if server.record("member", site.member) == nil {
            let outcome = server.write([ServerBeginnings.member(site.member, site.name, role)])
            note("\(site.name) is a member again: \(outcome.status.rawValue)")
        }
        return server.invite(site.name, role: role, member: site.member).code
    }

    /// In the end everybody gets a code who needs one.
    func enrolEveryone(_ going: [SimulatedSite]) async throws {
        for site in going {
            guard let id = try await site.replica.replicaID else { continue }
            let isKnown: Bool
            do {
                _ = try await site.replica.sync()
                isKnown = true
            } catch let error as ReplicaError where error.message.contains("[unauthorized]") || error.message.contains("[forbidden]") {
                isKnown = false
            } catch {
                throw BrokenInvariant(name: "I12", detail: "\(site.name) cannot sync with a sound network: \(error)")
            }
            guard !isKnown || server.record("member", site.member) == nil else { continue }
            // A code of before may have gone down with the server's disk: then another one is got.
            var words = ""
            var isDone = false
            for number in 0..<3 where !isDone {
                if number > 0 { site.code = nil }
                words = try await attempt(site) {
                    let words = try await self.ask(site)
                    isDone = true
                    return words
                }
                if words.hasPrefix(ReplicaError.Code.alreadyEnrolled.rawValue) { isDone = true }
            }
            note("\(site.name), \(id.text.suffix(4)), gets a code in the end: \(words)")
        }
    }
}
