// What the server says about itself: three documents that follow from the schema, made once per process.

import SyncProtocol

struct SchemaDocuments: Sendable {
    /// `GET /v1/schema`
    let schema: [UInt8]
    /// `GET /v1/openapi.json`
    let openAPI: [UInt8]
    /// `GET /v1/docs`, HTML.
    let page: [UInt8]

    init(_ schema: Schema) {
        self.schema = schema.json.canonicalBytes()
        let document = OpenAPIDocument(schema)
        openAPI = document.json.canonicalBytes()
        page = Array(OpenAPIPage(document).html.utf8)
    }
}
