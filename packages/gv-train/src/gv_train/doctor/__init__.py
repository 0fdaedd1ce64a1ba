"""What a machine lacks for training, and what to do about it; behind ``gv-train doctor``.

A probe is a function from a ``Place``, where files, variables and programs are looked for, to
findings. Heavy libraries are asked in processes of their own: one that hangs or crashes is a
finding.
"""
