"""The embedded pair: a toy task, a teacher that solves it and a student that half does, for runs without hub or GPU."""
