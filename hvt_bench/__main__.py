"""`python -m hvt_bench` is `hvt-bench`."""

from hvt_bench.cli import main

if __name__ == "__main__":
    main()
