"""Looking at tokens: `tipx inspect` and `tipx tokens`. Only replaying a rule needs torch."""
