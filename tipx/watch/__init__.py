"""The live state of a machine's runs, read from their files: nothing is written by training for its sake."""
