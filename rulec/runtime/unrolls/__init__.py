"""How unrolls run: graphs of one step, what is kept for the way back, generated kernels, and the choice between them."""
