"""A process whose parent is small: the system counts the memory of a large parent, such as pytest, to its child."""

FROM_A_SMALL_PARENT = """
import subprocess, sys

sys.exit(subprocess.run([sys.executable, "-c", *sys.argv[1:]]).returncode)
"""
