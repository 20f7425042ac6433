"""What the engine is put together to: the protocol of a model, the models, and their networks.

It may import errors, rng and engine, and never data, training, gradcheck or the laboratory.
"""
