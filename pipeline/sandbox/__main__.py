"""``python -m pipeline.sandbox``: a sandbox as a process of its own."""

import argparse
import sys

from pipeline.sandbox import add_arguments, main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pipeline.sandbox", description=__doc__)
    add_arguments(parser)
    sys.exit(main(parser.parse_args()))
