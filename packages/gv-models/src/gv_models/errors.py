"""What gv_models raises when the input, not the code, is wrong.

Each message names what was given, the rule and the way out; the commands print it as it is and end
with ``exit_code``.
"""


class ModelError(Exception):
    """Base of all errors that a user of gv_models can cause and mend."""

    exit_code = 2
    """What a command ends with: bad input, nothing was written."""


class PackageError(ModelError):
    """A model package is missing, damaged, from a newer version, or does not fit the image."""
