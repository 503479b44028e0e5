"""What an app does with a bundle, and nothing else: Kotlin and Swift mirror these files (docs/design.md)."""
