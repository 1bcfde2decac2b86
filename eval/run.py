"""`python -m eval.run`, the same as `echorl eval`; see `echorl_vl.evaluation.run`."""

import sys

from echorl_vl.evaluation.run import main

if __name__ == "__main__":
    sys.exit(main())
