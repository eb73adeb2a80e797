"""Which tokens would each rule keep? Entropy against divergence of a sampled step, one panel for each of four rules.

    python examples/entropy_divergence_scatter.py RUN [STEP]

RUN is a run of `tipx train ... loop.sample_every=10` (path, name or hash). The picture goes to the working directory.
Cells (`# %%`) run one by one in Jupyter, VS Code or Spyder.
"""

# %% Load a run: every token of a sampled step is a row
import sys

import matplotlib.pyplot as plt

import tipx

RULES = ["soft_or", "q3_only", "entropy_top", "random"]
RATIO = 0.2
QUADRANTS = [("Q1 unsure, wrong", 1, 1), ("Q2 unsure, agreeing", 1, 0), ("Q3 sure, wrong", 0, 1), ("Q4 solved", 0, 0)]
KEPT, DROPPED = "#D55E00", "#8a8a8a"  # orange and grey, told apart without colours by their marks

run = tipx.load_run(sys.argv[1])
step = int(sys.argv[2]) if len(sys.argv) > 2 else run.sampled_steps[-1]
tokens = run.tokens(step)
tokens = tokens[tokens["valid"]]
entropy, divergence = (tokens[name].clip(lower=1e-5) for name in ("student_entropy", "reverse_kl"))  # log axes

# %% What each rule keeps, as `tipx train selector=... ratio=...` would have
kept = {rule: run.apply_rule(f"selector={rule} ratio={RATIO}", step)[tokens.index] > 0 for rule in RULES}

# %% One panel a rule; the dashed lines are the medians, which part the quadrants
figure, panels = plt.subplots(2, 2, figsize=(8.5, 7), sharex=True, sharey=True, layout="constrained")
for axes, (rule, chosen) in zip(panels.flat, kept.items(), strict=True):
    axes.scatter(entropy[~chosen], divergence[~chosen], s=9, c=DROPPED, marker="x", lw=0.6, alpha=0.4, label="dropped")
    axes.scatter(entropy[chosen], divergence[chosen], s=10, c=KEPT, lw=0, alpha=0.7, label="kept")
    axes.axvline(entropy.median(), c="black", lw=0.8, ls="--")
    axes.axhline(divergence.median(), c="black", lw=0.8, ls="--")
    axes.set(xscale="log", yscale="log")
    axes.set_title(f"{rule}: {chosen.sum():,} of {len(tokens):,} tokens kept", loc="left", fontsize=10)
    axes.margins(0.07)
    for name, x, y in QUADRANTS:
        side, end = "right" if x else "left", "top" if y else "bottom"
        place = {"xy": (x, y), "xycoords": "axes fraction", "xytext": (3 - 6 * x, 3 - 6 * y)}
        axes.annotate(name, **place, textcoords="offset points", ha=side, va=end, fontsize=7.5)
for axes in panels[1]:
    axes.set_xlabel("student's entropy, nats")
for axes in panels[:, 0]:
    axes.set_ylabel("reverse KL to the teacher, nats")
figure.suptitle(f"{run.name}, step {step}; dashed: medians", x=0.01, ha="left", fontsize=10)
figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)

# %% Save it
name = f"entropy_divergence_{run.name}_{step:06d}.png"
figure.savefig(name, dpi=150)
