"""`python -m eval.evidence`, the same as `echorl evidence`; see `echorl_vl.evidence`."""

import sys

from echorl_vl.evidence.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
