plugins {
    alias(libs.plugins.kotlin.jvm)
    alias(libs.plugins.kotlin.serialization)
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    api(libs.serialization.core)
    // The app brings the same classes with Android's native library; Maven runs the tests.
    compileOnly(libs.onnxruntime.jvm)
}
