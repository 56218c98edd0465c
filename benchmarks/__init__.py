"""Speed and memory of rulec beside its rivals, all in one run: `make bench`, or `python -m benchmarks NAME... --quick`."""
