"""Defenses: functions from images to images that may undo a poison.

`DEFENSES` names them as "module:function", so that listing them needs no torch.
"""

DEFENSES = {
    "mc": "cptools.core.defenses.matrix_completion:matrix_completion",
}
