"""Triton kernels that keep a small network's whole inner loop on the chip: one program for each network.

`source` writes the kernel of a loop from the graphs of a step and of what comes after the last; `blocks` says how arrays whose sizes are no powers of
two lie in Triton's blocks; `operations` and `expressions` write single operations; `helpers` are functions that kernels call.
"""
