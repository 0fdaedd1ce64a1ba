"""How the commands of the house speak: options, narration, failures, exit codes."""
