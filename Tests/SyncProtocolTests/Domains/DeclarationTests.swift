// What the product's domains are, held against the text that was agreed on: a change of any field, limit, policy or transition shows here
// and is made on purpose.

import SyncProtocol
import Testing

@Suite struct DeclarationTests {
    /// `!` required · `=` default · policies: L last writer, A add-wins set, C counter, W write once, S server, G guarded, T transition ·
    /// `^c` deleted along, `^n` set to null · ix indexed, se searched, uq unique, mgr hidden from field staff, pt for the portal.
    @Test func tenancyAndCRM_areDeclaredAsAgreed() {
        let declared = Schema.tideline.entities.map(\.declaration)
        let agreed = Self.agreed.split(separator: "\n\n").map(String.init)
        #expect(declared.count == agreed.count)
        for (one, should) in zip(declared, agreed) {
            let (lines, wanted) = (one.split(separator: "\n"), should.split(separator: "\n"))
            for difference in lines.difference(from: wanted) { Issue.record("\(wanted.first ?? ""): \(difference)") }
        }
    }

    static let agreed = """
        tenant: admin, access config, scope tenant, not created, not deleted
          name! text(120) L
          base_currency! currency W
          timezone! time_zone =UTC L
          locale text(2..10) =en L
          week_starts integer(1..7) =1 W
          books_locked_through date G
          invoice_prefix text(12) =INV- G
          credit_note_prefix text(12) =CN- G
          invoice_terms_days integer(0..365) =30 L
          dual_control_over money(0..1000000000000) G mgr
          file_quota_mb integer =10240 S
          branding map{logo_file,color,display_name} L pt

        account: admin, access secret, scope none
          email! email S uq(global)
          password_hash text(200) S secret
          email_verified_at instant S
          last_login_at instant S
          failed_logins integer =0 S

        member: admin, access config, scope tenant, self may edit
          account ref(account) S secret
          name! text(120) L se
          email! email S uq
          role! owner|manager|field|viewer =field G ix
          job_title text(80) L
          phone phone L
          timezone time_zone L
          weekly_capacity_minutes integer(0..10080) =2400 L
          skills set<text(1..40)>(0..30) A
          cost_rate money(0..1000000000000) L mgr
          bill_rate money(0..1000000000000) L mgr
          status! invited|active|disabled =invited T ix
          > accept: invited → active by itself, system, online, member.joined, user-check
          > disable: active invited → disabled by owner, online, member.disabled, user-x
          > enable: disabled → active by owner, online, member.enabled, user-check
          does not rebase

        replica: admin, access own, scope member("member")
          member! ref(member)^c W ix
          label! text(80) L
          platform text(40) W
          replication full|field|sales|readonly S
          status! active|revoked =active T ix
          > revoke: active → revoked by owner, itself, online, replica.revoked, smartphone-off
          does not rebase

        custom_field: admin, access config, scope tenant
          entity! client|contact|deal|site|project|task|invoice W ix
          key! slug(40) W uq(+entity)
          label! text(80) L
          kind! text|integer|money|date|bool|choice|multi_choice|url W
          required bool =0 L
          choices set<text(1..80)>(0..100) A
          min integer L
          max integer L
          sort_order integer =0 L
          archived bool =0 L

        number_sequence: admin, access secret, scope none
          kind! slug(40) S
          year! integer S
          last integer =0 S

        client: relationship, access collab, scope client("id")
          name! text(200) L ix se
          legal_name text(200) L se
          kinds! set<customer|supplier|partner>(1..3) =["customer"] A ix
          parent ref(client)^n G
          owner ref(member)^n L ix
          email email L
          phone phone L
          website url L
          tax_number text(40) G mgr
          billing_address address L
          payment_terms_days integer(0..365) L
          default_tax_rate ref(tax_rate)^n L mgr
          credit_limit money(0..1000000000000) G mgr
          tags set<text(1..40)>(0..50) A ix se
          notes rich(20000) G
          custom map L
          status! active|on_hold|archived =active T ix
          > hold: active → on_hold by owner, manager, local, client.on_hold, pause
          > release: on_hold → active by owner, manager, local, client.released, play
          > archive: active on_hold → archived by owner, manager, local, client.archived, archive
          > reactivate: archived → active by owner, manager, local, client.reactivated, archive-restore
          rebases

        contact: relationship, access collab, scope clientThrough(link: "client_contact", record: "contact", client: "client")
          first_name text(100) L se
          last_name! text(100) L ix se
          email email L ix se
          phone phone L
          alt_emails set<email>(0..5) A
          alt_phones set<phone>(0..5) A
          job_title text(80) L
          language text(2..10) L
          tags set<text(1..40)>(0..50) A ix
          notes rich(20000) G
          custom map L

        client_contact: relationship, access collab, scope client("client"), id of client contact
          client! ref(client)^c W ix
          contact! ref(contact)^c W ix
          role text(60) L
          is_primary bool =0 L
          is_billing bool =0 L

        site: relationship, access collab, scope client("client")
          client! ref(client)^c W ix
          name! text(120) L se
          address! address L
          latitude_e6 integer(-90000000..90000000) L
          longitude_e6 integer(-180000000..180000000) L
          contact ref(contact)^n L
          access_notes rich(2000) G
          active bool =1 L
          custom map L

        deal: relationship, access manage, scope full + member("owner"), owner owner
          title! text(200) L se
          client! ref(client) W ix
          amount! money(0..1000000000000) =0 L
          currency! currency W
          probability integer(0..100) L
          expected_close date L ix
          owner! ref(member) L ix
          source referral|web|event|outbound|existing|other L
          lost_reason text(300) S
          closed_at instant S
          tags set<text(1..40)>(0..50) A
          notes rich(20000) G
          custom map L
          stage! lead|qualified|proposal|negotiation|won|lost =lead T ix
          > qualify: lead proposal negotiation → qualified by owner, manager, member in owner, local, deal.stage_changed, arrow-right
          > propose: lead qualified negotiation → proposal by owner, manager, member in owner, local, deal.stage_changed, arrow-right
          > negotiate: lead qualified proposal → negotiation by owner, manager, member in owner, local, deal.stage_changed, arrow-right
          > win: qualified proposal negotiation → won by owner, manager, member in owner, local, deal.won, trophy
          > lose(reason! text(1..300) kept in lost_reason): lead qualified proposal negotiation → lost by owner, manager, member in owner, local, deal.lost, x-circle
          > reopen: won lost → qualified by owner, manager, local, deal.reopened, rotate-ccw
          rebases

        deal_contact: relationship, access manage, scope record("deal", entity: "deal"), id of deal contact
          deal! ref(deal)^c W ix
          contact! ref(contact)^c W
          role decision_maker|evaluator|influencer|user|other =other L
        """
}
