"""One call a tool: from artifacts to artifacts, for notebooks and for the command line alike.

This floor knows the methods (`cptools.core`) and the files (`cptools.artifacts`), and nothing of a
terminal. What it remarks goes to the logger `cptools`; bad use and bad input are a `ValueError`,
whose message names parameters in backticks. Importing these modules imports neither torch nor
numpy.
"""
