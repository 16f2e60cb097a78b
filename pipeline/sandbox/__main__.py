"""``python -m pipeline.sandbox``: run a sandbox as a process of its own."""

import sys

from pipeline.sandbox.command import serve

if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
