"""Compiles a train step for devices that this machine lacks, and reads the compiled program."""
