"""Export a cascade for Core ML.

python export_scripts/export_coreml.py zoo:dvt_cifar10 build/bundles
"""

from _engine_script import script_for

if __name__ == "__main__":
    script_for("coreml")
