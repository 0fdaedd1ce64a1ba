"""The tables of a catalog as files, local or on object storage, and SQL over them."""
