"""`python -m attar`, which torchrun can start several of: torchrun --nproc-per-node 2 -m attar distill ..."""

from attar.cli.main import run

if __name__ == "__main__":
    run()
