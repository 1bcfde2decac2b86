"""`python -m eval.compare`, the same as `echorl compare`; see `echorl_vl.evaluation.compare`."""

import sys

from echorl_vl.evaluation.compare import main

if __name__ == "__main__":
    sys.exit(main())
