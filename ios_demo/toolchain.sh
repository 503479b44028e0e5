#!/usr/bin/env bash
# toolchain.sh [DIR]: a Swift 6 toolchain for Linux in DIR (build/swift-toolchain), for tests only: 1.1 GB, under a minute.
#
# It is Debian trixie's, signed by Debian, unpacked into a root of its own: nothing is installed on the machine.
# swift.sh runs commands in it. Beside the compiler it has the headers of zlib and of ONNX Runtime's C interface.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(realpath -m "${1:-$here/../build/swift-toolchain}")
making=$root.making apt=$root.apt
trap 'rm -rf "$making" "$apt"' EXIT

command -v apt-get >/dev/null || { echo "error: needs apt-get (Debian or Ubuntu); elsewhere install Swift 6 itself" >&2; exit 2; }
rm -rf "$making" "$apt"
mkdir -p "$apt"/{lists/partial,archives/partial} "$making"/{proc,dev,tmp,etc} "$making"/usr/{bin,sbin,lib,lib64}

mirror=$(apt-get indextargets --format '$(REPO_URI)' | awk '!/^file:|security/ && !seen[$0]++' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/sources.list"
: >"$apt/status"
options=(-qq --no-install-recommends -o APT::Sandbox::User=root -o Acquire::Languages=none
    -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o Dir::State="$apt" -o Dir::State::Status="$apt/status" -o Dir::Cache="$apt" -o Dir::Log="$apt")
apt-get "${options[@]}" update
apt-get "${options[@]}" --yes --download-only install swiftlang libc6-dev zlib1g-dev dash
(cd "$apt/archives" && apt-get "${options[@]}" download libonnxruntime-dev)

for name in bin sbin lib lib64; do ln -s "usr/$name" "$making/$name"; done
# Debuggers, linkers for other systems, editors' servers and static libraries: half of the bytes, and no test needs them.
swift=usr/libexec/swift
unused=(usr/share/{doc,man,locale} $swift/bin/{'*lldb*','lld*','*.lld',wasm-ld,clangd,sourcekit-lsp,docc,repl_swift}
    $swift/bin/{swift-api-digester,swift-build-sdk-interfaces} $swift/lib/{'liblldb*','libsourcekitd*','libLTO*',swift_static}
    $swift/lib/swift/{embedded,migrator,FrameworkABIBaseline} 'usr/libexec/gcc/*/*/'{cc1,lto1})
for package in "$apt"/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" |
        tar --extract --directory "$making" --keep-directory-symlink --wildcards "${unused[@]/#/--exclude=./}"
done
rm -rf "$root"
mv "$making" "$root"
