#!/usr/bin/env bash
# check.sh: all that Linux can prove of the iOS code. Prints `ios: N passed, M failed`, and exits with 1 where one failed.
# Without a Swift toolchain (make swift-toolchain) it says so and skips; with CI set that is a failure.
set -uo pipefail
cd "$(dirname "$0")"
build=$(realpath -m ../build/ios)
python=$(realpath -s "${PYTHON:-../.venv/bin/python}")
passed=0 failed=0

if ! version=$(./swift.sh swift --version 2>&1); then
    [ -z "${CI:-}" ] || { echo "ios: $version; with CI set nothing is skipped" >&2; exit 1; }
    echo "ios: skipped, $version"
    exit 0
fi

check() { # NAME command...: one check, whose output is shown where it fails
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "ios: $name"
    else
        failed=$((failed + 1))
        echo "ios: FAILED: $name"
        printf '%s\n' "$output" | tail -n 60
    fi
}

# The shipped cascade as onnx-int8, exported once for as long as its artifacts are those of the golden run.
bundle() {
    PYTHONPATH=.. "$python" ../tests/support/golden_bundles.py "$build" onnx-int8 &&
        cp -u "$("$python" -c 'import onnxruntime, pathlib
print(*pathlib.Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))')" "$build/libonnxruntime.so"
}

swift_tests() { # one check a test
    local output last
    output=$(DVT_EDGE_BUNDLE=$build/onnx-int8 DVT_EDGE_ONNXRUNTIME=$build/libonnxruntime.so nice -n 5 ./swift.sh \
        swift test -c release -Xswiftc -enable-testing -Xswiftc -warnings-as-errors --scratch-path "$build/swift" \
        -Xlinker --allow-shlib-undefined 2>&1) # Swift 6.0's libswiftObservation lacks a symbol that it never calls
    last=$(grep -E '^. Test run with [0-9]+ tests? ' <<<"$output" | tail -n 1)
    local broken
    broken=$(grep -cE '^✘ Test [^ ]+\(.*\) failed after|^✘ Test "[^"]+" failed after' <<<"$output")
    if [[ $last =~ ([0-9]+)\ tests?\ passed ]]; then
        passed=$((passed + BASH_REMATCH[1]))
    else
        [[ $last =~ with\ ([0-9]+)\ test ]] && passed=$((passed + BASH_REMATCH[1] - broken))
        failed=$((failed + (broken > 0 ? broken : 1)))
        grep -E '^✘|error:|warning:|[Ff]atal' <<<"$output" | head -n 60
    fi
    echo "ios: ${last:-swift test did not run}"
}

mapfile -t scripts < <(find Sources -name main.swift)
mapfile -t sources < <(find Sources Tests Stubs App -name '*.swift' -not -name main.swift | sort)
mkdir -p "$build/stubs"
check "style (swift-format)" ./swift.sh swift-format lint --strict --parallel Package.swift "${scripts[@]}" "${sources[@]}"
check "syntax of ${#sources[@]} files, inactive blocks too" ./swift.sh sh -ec '
    swiftc -frontend -parse Package.swift; swiftc -frontend -parse "$0"; swiftc -frontend -parse -parse-as-library "$@"' \
    "${scripts[@]}" "${sources[@]}"
check "Apple-only files against stubs" ./swift.sh sh typecheck.sh "$build/stubs"
check "the bundle for tests" bundle
swift_tests
echo "ios: took $SECONDS s"
echo "ios: $passed passed, $failed failed"
[ "$failed" = 0 ]
