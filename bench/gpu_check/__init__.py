"""What one GPU does to tipx: results against the CPU, times, memory, launches. Less than ten minutes on one GPU.

    python -m bench.gpu_check                          on a GPU, real sizes
    python -m bench.gpu_check --device cpu --small     on a CPU, small sizes: does the script itself run?

One module is one section. Each runs in a process of its own, so that one that fails, hangs or leaves memory behind
spoils no other.
"""
