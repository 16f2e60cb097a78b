"""The export as a script for ``ray job submit`` and ``synapse script submit``; see docs/run-ray-job.md.

The configuration is the first argument, or named by SYNAPSE_EXPORT_CONFIG, or config.yaml beside this file.
"""

import sys
from pathlib import Path

from pipeline.cli.job import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent))
