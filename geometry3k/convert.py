"""`python -m geometry3k.convert`: convert the original Geometry3K release to parquet, like `echorl convert`."""

import sys

from echorl_vl.generators.geometry3k.convert import main

if __name__ == "__main__":
    sys.exit(main())
