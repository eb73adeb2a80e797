"""What tells things apart in pictures, and the names of quadrants there; needs no matplotlib."""

from tipx.runs import metric_keys as keys

# Okabe and Ito's colours, told apart by colour-blind readers and in print.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8a8a8a"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#7a5195", "#333333")
MARKERS, HATCHES, DASHES = "osD^vPX*", ("", "//", "..", "\\\\", "xx", "--", "++", "oo"), ("-", "--", "-.", ":")
"""What tells lines and bars apart where colours do not."""
QUADRANTS = {
    keys.QUADRANT_FRAC.of("q1"): ("Q1 unsure, wrong", BLUE),
    keys.QUADRANT_FRAC.of("q2"): ("Q2 unsure, agreeing", GREEN),
    keys.QUADRANT_FRAC.of("q3"): ("Q3 sure, wrong", ORANGE),
    keys.QUADRANT_FRAC.of("q4"): ("Q4 solved", GREY),
}
