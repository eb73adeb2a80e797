"""Peak memory and time of the distillation loss: ours beside full logits, the paper's way, TRL and Liger.

python -m bench [--vocab 151936] [--tokens 512 1024] [--ratio 1 0.5 0.2 0.1] [--resume]
python -m bench.widths      time of the loss at the hidden sizes of real models
python -m bench.step        whole training steps
python -m bench.training    training from end to end, beside TRL's
"""
