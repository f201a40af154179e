// What people type and read, without a process: amounts, dates, widths, conditions, words of shells.

import Foundation
import SyncProtocol
import TestSupport
import Testing

@testable import replica_cli

@Suite struct CommandLineWordsTests {
    @Test(arguments: [
        ("1250", "USD", 125_000), ("1250.5", "USD", 125_050), ("1,250.50", "USD", 125_050), ("1.250,50", "EUR", 125_050),
        ("1 250,50", "EUR", 125_050), ("1'250.50", "CHF", 125_050), ("1,250", "USD", 125_000), ("1,250,000", "USD", 125_000_000),
        ("12,5", "EUR", 1250), ("$1,250", "USD", 125_000), ("€1250", "EUR", 125_000), ("1250 €", "EUR", 125_000), ("-12.30", "USD", -1230),
        ("-$5", "USD", -500), ("1250", "JPY", 1250), ("¥1,250", "JPY", 1250), ("1.250", "KWD", 1250), ("0", "USD", 0),
        ("USD 3", "USD", 300), ("3 usd", "USD", 300),
    ]) func amounts_areReadAsPeopleWriteThem(text: String, currency: String, amount: Int) {
        #expect(MoneyWords.parse(text, currency: currency)?.amount == Int64(amount))
    }

    @Test(arguments: [
        ("12.345", "USD"), ("1,25,0", "USD"), ("12,50,", "USD"), ("", "USD"), ("-", "USD"), ("€5", "USD"), ("1.5", "JPY"), ("abc", "USD"),
        ("1,2345.00", "USD"), ("--5", "USD"), ("1 2", "USD"), ("1e3", "USD"), ("99999999999999999999", "USD"), ("1,250.5,0", "USD"),
        ("٣", "USD"),
    ]) func amounts_thatAreNone_orMayMeanTwoThings_areRefused(text: String, currency: String) {
        #expect(MoneyWords.parse(text, currency: currency) == nil)
    }

    @Test func amounts_comeBackAsTheyAreShown() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        for currency in ["USD", "JPY", "KWD", "EUR"] {
            let text = FieldText(currency: currency)
            for _ in 0..<300 {
                let amount = Int64.random(in: -FieldSchema.moneyMaximum...FieldSchema.moneyMaximum, using: &random)
                let shown = text.show(.integer(amount), as: .money(.min ... .max))
                #expect(MoneyWords.parse(shown, currency: currency)?.amount == amount, "\(shown)")
            }
        }
        #expect(FieldText(currency: "USD").show(.integer(123_456_789), as: .money(.min ... .max)) == "1,234,567.89 USD")
        #expect(FieldText(currency: "JPY").show(.integer(-1234), as: .money(.min ... .max)) == "-1,234 JPY")
    }

    /// Monday 2026-03-16, 09:30 in a zone two hours east of UTC.
    private let moment = Moment(milliseconds: 1_773_646_200_000, zone: TimeZone(secondsFromGMT: 7200)!)

    @Test(arguments: [
        ("today", "2026-03-16"), ("Tomorrow", "2026-03-17"), ("yesterday", "2026-03-15"), ("+7d", "2026-03-23"), ("-2w", "2026-03-02"),
        ("+1m", "2026-04-16"), ("-1y", "2025-03-16"), ("3 days", "2026-03-19"), ("monday", "2026-03-16"), ("sun", "2026-03-22"),
        ("friday", "2026-03-20"), ("16 Mar 2026", "2026-03-16"), ("16. March 2026", "2026-03-16"), ("Mar 16, 2026", "2026-03-16"),
        ("16.3.2026", "2026-03-16"), ("2026-03-16", "2026-03-16"), ("29 feb 2028", "2028-02-29"), ("+11m", "2027-02-16"),
    ]) func dates_areReadAsPeopleWriteThem(text: String, date: String) {
        #expect(DateWords.day(text, moment).map(CalendarDate.iso(fromDays:)) == date)
    }

    @Test(arguments: [
        "", "soon", "3/16/2026", "31.2.2026", "30 Feb 2026", "2026-13-01", "+", "7", "+7", "d", "16 Mar 26", "1 ma 2026", "99999999d",
        "today 9:30",
    ]) func dates_thatAreNone_areRefused(text: String) {
        #expect(DateWords.day(text, moment) == nil)
    }

    @Test func monthsThatAreTooShort_endOnTheirLastDay() throws {
        let start = try #require(CalendarDate.days(fromISO: "2026-01-31"))
        let january = Moment(milliseconds: start * 86_400_000, zone: .gmt)
        #expect(DateWords.day("+1m", january).map(CalendarDate.iso(fromDays:)) == "2026-02-28")
        #expect(DateWords.day("+25m", january).map(CalendarDate.iso(fromDays:)) == "2028-02-29")
        #expect(DateWords.day("-2m", january).map(CalendarDate.iso(fromDays:)) == "2025-11-30")
    }

    @Test(arguments: [
        ("2026-03-16T09:30:00Z", "2026-03-16T09:30:00.000Z"), ("2026-03-16 09:30", "2026-03-16T07:30:00.000Z"),
        ("today 14:00", "2026-03-16T12:00:00.000Z"), ("tomorrow 0:15", "2026-03-16T22:15:00.000Z"), ("now", "2026-03-16T07:30:00.000Z"),
        ("-2h", "2026-03-16T05:30:00.000Z"), ("+30min", "2026-03-16T08:00:00.000Z"), ("16 Mar 2026 23:59", "2026-03-16T21:59:00.000Z"),
    ]) func times_areReadAsPeopleWriteThem(text: String, time: String) {
        #expect(DateWords.instant(text, moment).map(Instant.iso(fromMilliseconds:)) == time)
    }

    @Test(arguments: ["", "today", "25:00", "today 24:00", "today 9", "2026-03-16T09:30:00", "now!", "+2d"])
    func times_thatAreNone_areRefused(text: String) {
        #expect(DateWords.instant(text, moment) == nil)
    }

    @Test func widths_countColumnsOfATerminal() {
        for (text, width) in [
            ("abc", 3), ("東京", 4), ("é", 1), ("e\u{301}", 1), ("🏭", 2), ("👩‍🔧", 2), ("🇳🇴", 2), ("❤️", 2), ("→", 1), ("가", 2), ("\u{200B}", 0),
            ("ｱ", 1), ("Ａ", 2),
        ] {
            #expect(DisplayWidth.of(text) == width, "\(text)")
        }
        #expect(DisplayWidth.shortened("東京ホテル", to: 6) == "東京…")
        #expect(DisplayWidth.shortened("abc", to: 3) == "abc")
        #expect(DisplayWidth.wrapped("  one two three\nfour", to: 9) == ["  one two", "  three", "four"])
        #expect(DisplayWidth.wrapped("unbreakable", to: 4) == ["unbreakable"])
        #expect(DisplayWidth.harmless("a\u{1B}[31mb\u{202E}\tc\nd") == "a\u{FFFD}[31mb\u{FFFD} c d")
    }

    @Test func tables_fitAnyWindow() {
        var random = SeededRandom.fresh()
        print("seed \(random.seed)")
        let texts = ["", "a", "Pier 9 Marina and Boatyard", "東京ホテル", "🏭🏭🏭", "12,250.50 USD", "line\nbreak", "e\u{301}e\u{301}"]
        for _ in 0..<300 {
            let count = Int.random(in: 2...9, using: &random)
            let columns = (0..<count).map { index in
                Table.Column(
                    title: index == count - 1 ? "" : "column_\(index)", isRight: Bool.random(using: &random),
                    isRigid: Bool.random(using: &random))
            }
            let rows = (0..<Int.random(in: 0...5, using: &random)).map { _ in columns.map { _ in texts.randomElement(using: &random) ?? "" }
            }
            let width = Int.random(in: 20...120, using: &random)
            let (lines, hidden) = Table(columns: columns, rows: rows).lines(width: width)
            #expect(lines.count == rows.count + 1)
            for line in lines { #expect(DisplayWidth.of(line) <= width, "\(width): \(line)") }
            #expect(hidden.count <= count - 2)
            let free = Table(columns: columns, rows: rows).lines(width: nil)
            #expect(free.hidden.isEmpty)
        }
    }

    @Test func conditions_areReadWithAndWithoutSpaces() throws {
        for (text, field, symbol, value) in [
            ("stage = won", "stage", "=", "won"), ("amount>=1000", "amount", ">=", "1000"), ("due<today", "due", "<", "today"),
            ("name ~ a = b", "name", "~", "a = b"), ("custom.gate-code!=x", "custom.gate-code", "!=", "x"),
            ("tags contains vip", "tags", "~", "vip"),
            ("phone is null", "phone", "=", "null"), ("phone is not null", "phone", "!=", "null"), ("name = 'null'", "name", "=", "null"),
            ("  name  =  \"x y\"  ", "name", "=", "x y"),
        ] {
            let condition = try Condition(text)
            #expect(condition.field == field && condition.comparison.rawValue == symbol && condition.text == value, "\(text)")
        }
        #expect(try Condition("a = null").isNull && !Condition("a = 'null'").isNull)
        for text in ["", "stage", "= won", "stage =", "stage won", "stage == ", "näme = x"] {
            #expect(throws: UsageError.self, "\(text)") { try Condition(text) }
        }
    }

    @Test func shellWords_areReadAsTheShellCutThem() {
        func current(_ raw: [String], _ shell: Shell = .bash) -> CurrentWord { ShellWords.split(raw, for: shell).current }
        #expect(current(["add", "deal", "client", "=", "Pi"]) == CurrentWord(text: "client=Pi", quote: nil, kept: 7))
        #expect(current(["add", "deal", "client", "="]) == CurrentWord(text: "client=", quote: nil, kept: 7))
        #expect(current(["add", "deal", "client", "=", "\"Pi"]) == CurrentWord(text: "client=Pi", quote: "\"", kept: 7))
        #expect(current(["add", "deal", "\"client=Pi"]) == CurrentWord(text: "client=Pi", quote: "\"", kept: 0))
        #expect(current(["show", "client", "Pier\\ 9"]) == CurrentWord(text: "Pier 9", quote: nil, kept: 0))
        #expect(current(["set", "x", "y", "tags+", "=", "a"]) == CurrentWord(text: "tags+=a", quote: nil, kept: 6))
        #expect(current(["a", "client=Pi"], .zsh) == CurrentWord(text: "client=Pi", quote: nil, kept: 0))
        #expect(current([]) == CurrentWord(text: "", quote: nil, kept: 0))
        #expect(
            ShellWords.split(["list", "client", "--where", "stage", "=", "won", ""], for: .bash).before == [
                "list", "client", "--where", "stage=won",
            ])
        #expect(CurrentWord(text: "client=Pi", quote: nil, kept: 7).written("client=Pier 9", for: .bash) == "Pier\\ 9")
        #expect(CurrentWord(text: "client=Pi", quote: "\"", kept: 7).written("client=Pier 9", for: .bash) == "Pier 9")
    }

    @Test func names_thatWereMeant_areFound() {
        let names = ["title", "client", "amount", "currency", "stage"]
        #expect(Near.names(to: "amuont", in: names).first == "amount")
        #expect(Near.names(to: "clients", in: names).first == "client")
        #expect(Near.names(to: "zzz", in: names).isEmpty)
        #expect(Near.names(to: "", in: names).isEmpty)
    }
}
