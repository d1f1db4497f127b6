"""Entry points of the programs: import a tool and run it.

Until the tool can answer for itself, a signal ends the program without a word, and too little
memory with one line. So nothing here may import anything that takes time.
"""

import signal
import sys
from functools import partial


def _start(module: str, program: str) -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from importlib import import_module

    try:
        tool = import_module(f"cptools.cli.{module}")
    except (ImportError, MemoryError) as error:
        if isinstance(error, ImportError) and "failed to map" not in str(error):
            raise
        sys.exit(f"{program}: error: out of memory; allow more (ulimit -v)")
    tool.main()


cptools = partial(_start, "cptools", "cptools")
dataset = partial(_start, "dataset", "cp-dataset")
perturb = partial(_start, "perturb", "cp-perturb")
generate = partial(_start, "generate", "cp-generate")
pretrain = partial(_start, "pretrain", "cp-pretrain")
probe = partial(_start, "probe", "cp-probe")
defend = partial(_start, "defend", "cp-defend")
select = partial(_start, "select", "cp-select")
protect = partial(_start, "protect", "cp-protect")
visualize = partial(_start, "visualize", "cp-visualize")
