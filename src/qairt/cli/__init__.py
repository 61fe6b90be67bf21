"""The command line, one file for each command. Thin: it reads options, calls the pipeline, and prints."""
