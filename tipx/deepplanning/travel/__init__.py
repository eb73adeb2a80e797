"""The travel half: nine read-only tools over seven tables a task, a plan in lines, and the scores of a plan."""
