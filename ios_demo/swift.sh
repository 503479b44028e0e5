#!/usr/bin/env bash
# swift.sh command...: runs a Swift command in the current folder, with the Swift 6 on the PATH, or else in the
# toolchain that toolchain.sh made (DVT_EDGE_SWIFT names its folder). The latter needs root: it is a root of its own, where the
# repository and /tmp lie mounted at their own paths. The mounts are private and end with the command. Exits with 3 without any Swift.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(realpath "$here/..")
root=${DVT_EDGE_SWIFT:-$repository/build/swift-toolchain}

if [ ! -e "$root/usr/libexec/swift/bin/swift" ]; then
    command -v swift >/dev/null || { echo "no Swift toolchain: make swift-toolchain" >&2; exit 3; }
    exec "$@"
fi
root=$(realpath "$root")
mkdir -p "$root$repository" "$root/root"
export root repository
exec unshare --mount --propagation private -- sh -euc '
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /tmp "$root/tmp"
    mount --rbind "$repository" "$root$repository"
    settings="PATH=/usr/libexec/swift/bin:/usr/bin HOME=/root LANG=C.UTF-8 ORT_DISABLE_TELEMETRY=1"
    kept=$(env | grep "^DVT_EDGE_" || true)
    exec env -i $settings $kept unshare --root="$root" --wd="$PWD" "$@"' sh "$@"
