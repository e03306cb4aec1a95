"""The scripts, one package for each draft and one module for each of its top-level sections."""
