"""What everything else is built from: layers, formulas and optimizers, with gradients by hand.

This folder imports tinyvae.errors and tinyvae.rng, and nothing else of tinyvae.
"""
