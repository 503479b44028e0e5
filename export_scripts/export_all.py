"""Export a cascade for every target.

python export_scripts/export_all.py zoo:dvt_cifar10 build/bundles
"""

from _engine_script import script_for

if __name__ == "__main__":
    script_for(None)
