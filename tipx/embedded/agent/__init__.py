"""The embedded agents: errands in a tiny shop, a teacher that runs them with tools and a student that half does."""
