"""What the experiments in examples/ measure: exact answers, scores, and classic mistakes.

It may import everything else in tinyvae; nothing in tinyvae imports it.
"""
