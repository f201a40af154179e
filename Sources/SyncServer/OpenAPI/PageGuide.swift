// The first part of the page at `/v1/docs`: how to get in, values, lists, writing safely, errors. What a stranger reads first.

import SyncProtocol

struct PageGuide {
    struct Section {
        let id: String
        let title: String
        let html: String
    }

    let document: OpenAPIDocument

    var sections: [Section] {
        [
            Section(id: "start", title: "Getting in", html: start), Section(id: "values", title: "Values", html: values),
            Section(id: "lists", title: "Lists and pages", html: lists), Section(id: "writing", title: "Writing safely", html: writing),
            Section(id: "browser", title: "From a browser", html: browser), Section(id: "errors", title: "Errors", html: errors),
        ]
    }

    private func text(_ parts: String...) -> String { parts.joined() }

    private var start: String {
        text(
            HTMLText.paragraph(
                "Send a token with every request. An operator makes one with `sync-server token create --tenant ID --member ID`; it acts for that member, with that member's role. The examples on this page use"
            ),
            HTMLText.block(
                """
                API=http://127.0.0.1:8080
                auth="Authorization: Bearer $TOKEN"
                json="Content-Type: application/json"
                """),
            HTMLText.paragraph("Make a record, read it, find it:"),
            HTMLText.block(
                """
                curl -H "$auth" -H "$json" -d '{"name":"Harbor Hotel Group"}' $API/v1/client
                curl -H "$auth" $API/v1/client/$ID
                curl -H "$auth" "$API/v1/client?q=harb&limit=20"
                """),
            HTMLText.paragraph(
                "Every write goes through the same rules as one made offline, enters the same feed, and reaches every replica. Answers are JSON; `X-Request-Id` names the request in the server's log."
            ))
    }

    private var values: String {
        HTMLText.paragraph(document.json["info"]?["description"]?.stringValue ?? "")
            + HTMLText.paragraph(
                "Text is trimmed; an empty text is null. In a `PATCH`, what is left out stays as it is and null empties. A set is sent whole, `[\"a\",\"b\"]`, or as `{\"add\":[…],\"remove\":[…]}`; a counter changes by `{\"add\": n}`; of a map only the keys that change are sent. Fields that your role may not see are absent."
            )
    }

    private var lists: String {
        text(
            HTMLText.paragraph("`GET /v1/ENTITY` answers"),
            HTMLText.block(
                """
                {"data":[…], "total":6007, "has_more":true, "next_cursor":"eyJ…", "as_of":"0.41"}
                """),
            HTMLText.table(
                ["parameter", "means"],
                [
                    ("limit", "1 to \(ListRequest.limitMax), \(ListRequest.limitDefault) if left out."),
                    (
                        "offset",
                        "0 to \(ListRequest.offsetMax): rows to leave out. Shifts when rows come and go; for pages by number."
                    ),
                    (
                        "cursor",
                        "`next_cursor` of the page before, with everything else as it was. The thousandth page costs what the first one does, and nothing is shown twice or left out."
                    ),
                    ("sort", "A field, `id` or `updated_at`; `-` before it for descending order."),
                    (
                        "field=value, field[op]=value",
                        "A filter. Each entity's list says on which fields, with which of `ne lt lte gt gte in has null`. Two conditions on one field make a range."
                    ),
                    ("q", "Words, or beginnings of words, in the searched fields."),
                    ("deleted", "`include` or `only`, for tombstones."),
                ].map { [HTMLText.code($0.0), HTMLText.prose($0.1)] }),
            HTMLText.block(
                """
                curl -H "$auth" "$API/v1/client?limit=20&sort=-name"
                curl -H "$auth" "$API/v1/client?limit=20&sort=-name&offset=40"
                curl -H "$auth" --get --data-urlencode "cursor=$CURSOR" "$API/v1/client?limit=20&sort=-name"
                curl -g -H "$auth" "$API/v1/deal?stage[in]=proposal,negotiation&expected_close[lt]=2026-07-01"
                """),
            HTMLText.paragraph(
                "`total` is exact. Matches of a filter are counted up to \(ListRequest.countedMax); beyond, `total` is that number and `total_is_lower_bound` is true. `as_of` is the place in the feed that the page was read at."
            ))
    }

    private var writing: String {
        text(
            HTMLText.paragraph(
                "Not overwriting what you have not seen: every answer about one record has an `ETag`. Send it back as `If-Match`, and the write is refused with 412 if anything has changed the record since; without it the last write wins."
            ),
            HTMLText.block(
                """
                curl -i -H "$auth" $API/v1/client/$ID
                curl -H "$auth" -H "$json" -X PATCH -H 'If-Match: "0.41"' -d '{"notes":"Key at desk"}' $API/v1/client/$ID
                """),
            HTMLText.paragraph(
                "Not writing twice: send a text of your own as `Idempotency-Key`. The same request again within 24 hours gets the same answer, with `Idempotency-Replayed: true`, and writes nothing. A creation may bring its own `id` (a UUID) instead."
            ),
            HTMLText.block(
                """
                curl -H "$auth" -H "$json" -H 'Idempotency-Key: import-17' -d '{"name":"Harbor Hotel Group"}' $API/v1/client
                """))
    }

    private var browser: String {
        text(
            HTMLText.paragraph(
                "Pages of the same origin may use the API as they are; for others the server is started with `--cors-origin ORIGIN`."),
            HTMLText.block(
                """
                async function* all(entity, query = {}) {
                  const parameters = new URLSearchParams({ limit: 200, ...query });
                  for (;;) {
                    const response = await fetch(`/v1/${entity}?${parameters}`, { headers: { Authorization: `Bearer ${token}` } });
                    const page = await response.json();
                    if (!response.ok) throw new Error(page.error.message);
                    yield* page.data;
                    if (!page.has_more) return;
                    parameters.set("cursor", page.next_cursor);
                  }
                }
                for await (const client of all("client", { sort: "name" })) console.log(client.name);
                """))
    }

    private var errors: String {
        let codes = ErrorCode.allCases.sorted { ($0.status, $0.rawValue) < ($1.status, $1.rawValue) }
        let violations = ViolationCode.allCases.compactMap { code in
            code.words.map { [HTMLText.code(code.rawValue), HTMLText.prose($0)] }
        }
        return text(
            HTMLText.paragraph("A request that gets an error changed nothing. As `application/problem+json`:"),
            HTMLText.block(
                """
                {"error":{"code":"validation_failed", "message":"client.name: name is required", "request_id":"…",
                          "fields":[{"entity":"client", "id":"…", "field":"name", "code":"required", "message":"name is required"}]}}
                """),
            HTMLText.table(
                ["status", "code", "means"],
                codes.map { [String($0.status), HTMLText.code($0.rawValue), HTMLText.prose($0.words)] }),
            HTMLText.paragraph(
                "Any request can also meet 408, 413, 414 and 431, if it is too slow or too large, 500 and 503; they are not repeated below."
            ),
            "<h3>Codes of fields</h3>",
            HTMLText.paragraph("Every field that is wrong is among `fields`, at once, with its code and what belongs to it in `params`."),
            HTMLText.table(["code", "means"], violations))
    }
}
