"""The exceptions of the package."""


class ArtifactError(ValueError):
    """Bad input, or an output that cannot be: the message is one line, 'what; what to do'."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # names from outside may have several


class SizesDiffer(ArtifactError):
    """Images have several sizes, and none was chosen for them."""


class UpstreamError(ArtifactError):
    """The tool whose output was to be read failed, and sent word of it.

    Attributes:
        tool: its name.
        reason: its message, one line.
    """

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(f"{tool} failed: {reason}")
        self.tool = tool
        self.reason = reason
