"""The training loop and everything around it: configuration, checkpoints, evaluation, figures.

It may import errors, rng, engine, data and models, and never gradcheck or the laboratory.
"""
