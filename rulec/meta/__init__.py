"""Meta-learning: hypergradients, outer steps, checkpoints, genome files and evaluation."""
