"""With this folder on PYTHONPATH a plain `python -m qairt` knows the toy stages: for runs that qairt itself starts."""

import sys

if "qairt" in sys.orig_argv:
    import toy_stages

    from qairt.engine.stage import register_stage

    for stage in (toy_stages.Source, toy_stages.Fan, toy_stages.Upper, toy_stages.Join):
        register_stage(stage)
