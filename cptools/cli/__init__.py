"""The command line: one thin file a tool, and what they share.

The only layer that knows terminals, arguments and exit codes. Heavy modules are imported inside
the commands, so that `--help` and `--version` answer at once.
"""
