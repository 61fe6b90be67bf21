"""`python -m toy_cli …`: qairt's command line with the toy stages registered."""

import sys

import toy_stages

from qairt.cli.main import main
from qairt.engine.stage import register_stage

for _stage in (toy_stages.Source, toy_stages.Fan, toy_stages.Upper, toy_stages.Join):
    register_stage(_stage)

if __name__ == "__main__":
    sys.exit(main())
