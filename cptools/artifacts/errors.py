"""The one exception of the package."""


class ArtifactError(ValueError):
    """Bad input, or an output that cannot be: the message is one line, 'what; what to do'."""
