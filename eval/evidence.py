"""`python -m eval.evidence`: the paper's analyses made again. The same as `echorl evidence`."""

import sys

from echorl_vl.evidence.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
