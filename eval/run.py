"""`python -m eval.run`: a checkpoint on benchmarks. The same as `echorl eval`; see `echorl_vl.evaluation.run`."""

import sys

from echorl_vl.evaluation.run import main

if __name__ == "__main__":
    sys.exit(main())
