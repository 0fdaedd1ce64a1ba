"""The verbs of ``gv-data``, a module each; what they need is imported when they work."""
