"""`python -m qairt`: the command line, for processes that must not depend on what PATH names."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the working directory, which may hold a `random.py` of anybody's

from qairt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
