"""Export a cascade for ONNX Runtime.

python export_scripts/export_onnx.py zoo:dvt_cifar10 build/bundles
"""

from _engine_script import script_for

if __name__ == "__main__":
    script_for("onnxruntime")
