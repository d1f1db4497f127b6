"""One function per tool, from artifacts to artifacts, for notebooks and the command line.

This layer knows the methods (`cptools.core`) and the files (`cptools.artifacts`), but no terminal.
It logs to the logger `cptools`; wrong usage and invalid input raise `ValueError`, whose message
names parameters in backticks. Importing these modules imports neither torch nor
numpy.
"""
