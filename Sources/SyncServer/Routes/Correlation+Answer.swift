// An answer names the request that it is to, for clients that want to be sure.

import SyncProtocol

extension Correlation {
    /// Every answer, refusals included: an error that was meant for somebody else does as much harm. A request that names itself twice
    /// names itself not at all.
    static func name(_ request: HTTPRequest, in response: inout HTTPResponse) {
        let ids = request.headers.values(header)
        guard let id = ids.first, ids.count == 1, isWellFormed(id) else { return }
        response.headers.set(header, id)
    }
}
