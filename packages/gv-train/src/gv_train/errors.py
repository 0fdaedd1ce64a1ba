"""What gv_train raises when the input, not the code, is wrong."""


class TrainError(Exception):
    """Base of all errors that a user of gv_train can cause and mend."""

    exit_code = 2
    """What a command ends with: bad input, nothing was written."""


class RunError(TrainError):
    """A run cannot be made, found, locked or read."""


class ConfigError(TrainError):
    """A configuration has an unknown key, or a missing or wrong value."""


class LaunchError(TrainError):
    """It is not clear which experiment to run, or it cannot be loaded."""
