"""`python -m geometry3k.generate`: generate geometry problems with images from a seed."""

import sys

from echorl_vl.generators.geometry3k.generate import main

if __name__ == "__main__":
    sys.exit(main())
