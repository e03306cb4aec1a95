"""Benchmarks of fsp-trio: each subject as two processes on the loopback interface, in turns in one run."""
