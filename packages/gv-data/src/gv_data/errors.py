"""What gv_data raises when the input, not the code, is wrong.

Each message names the file, the values that disagree and the way out; the commands print it as it
is and end with ``exit_code``.
"""


class DataError(Exception):
    """Base of all errors that a user of gv_data can cause and mend."""

    exit_code = 2
    """What a command ends with: bad input, nothing was written."""


class RasterError(DataError):
    """A raster cannot be read, written or placed on the ground."""


class VectorError(DataError):
    """A vector file cannot be read, written or matched to an image."""


class CatalogError(DataError):
    """A catalog is missing, damaged, or asked for what it does not hold."""


class SampleError(DataError):
    """A sample or a batch cannot be changed as asked."""
