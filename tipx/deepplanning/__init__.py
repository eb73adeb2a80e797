"""DeepPlanning (arXiv 2601.18137): its worlds, tools and scores, in our own code; no torch here."""
