"""What the verbs of ``gv-train`` do, one module a verb."""
