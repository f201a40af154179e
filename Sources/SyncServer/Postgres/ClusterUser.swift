// Who the private cluster runs as. Postgres refuses to run as root, so root hands it to `postgres`, or to `nobody`.

import Foundation

struct ClusterUser: Sendable, Equatable {
    let userIdentifier: uid_t
    let groupIdentifier: gid_t
    /// We are root, and the cluster is someone else.
    let isSwitched: Bool

    /// An existing cluster keeps the owner it has: `owner` is that of its directory.
    static func choose(owner: (user: uid_t, group: gid_t)?) -> ClusterUser {
        guard geteuid() == 0 else {
            return ClusterUser(userIdentifier: geteuid(), groupIdentifier: getegid(), isSwitched: false)
        }
        if let owner, owner.user != 0 {
            return ClusterUser(userIdentifier: owner.user, groupIdentifier: owner.group, isSwitched: true)
        }
        for name in ["postgres", "nobody"] {
            var entry = passwd()
            var found: UnsafeMutablePointer<passwd>?
            var buffer = [CChar](repeating: 0, count: 16_384)
            if getpwnam_r(name, &entry, &buffer, buffer.count, &found) == 0, found != nil {
                return ClusterUser(userIdentifier: entry.pw_uid, groupIdentifier: entry.pw_gid, isSwitched: true)
            }
        }
        return ClusterUser(userIdentifier: 65_534, groupIdentifier: 65_534, isSwitched: true)
    }

    /// The command in front of Postgres: drops privileges where there are any, and ties its life to the thread that spawns it.
    func prefix(setpriv: String) -> [String] {
        let tie = [setpriv, "--pdeathsig=INT"]
        guard isSwitched else { return tie }
        return tie + ["--reuid=\(userIdentifier)", "--regid=\(groupIdentifier)", "--clear-groups"]
    }

    /// The first folder on the way to `path` (inclusive) that this user may not pass through.
    func firstObstacle(on path: String) -> String? {
        guard isSwitched else { return nil }
        var current = ""
        for part in [""] + path.split(separator: "/").map(String.init) {
            current = part.isEmpty ? "/" : (current == "/" ? "/" + part : current + "/" + part)
            var information = stat()
            guard stat(current, &information) == 0 else { return current }
            let needed: mode_t =
                information.st_uid == userIdentifier
                ? S_IXUSR : information.st_gid == groupIdentifier ? S_IXGRP : S_IXOTH
            if information.st_mode & needed == 0 { return current }
        }
        return nil
    }
}
