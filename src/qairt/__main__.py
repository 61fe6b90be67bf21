"""`python -m qairt`: the command line, for processes that must not depend on what PATH names."""

import sys

from qairt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
