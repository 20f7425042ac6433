"""The grader of the exercises in docs/exercises: `python -m tinyvae.exercises`.

An exercise is a file of functions whose bodies the learner writes. The right results come from
tinyvae itself. A wrong result is compared with what the classic mistakes give.

It may import errors, rng, engine, models and training. Nothing in tinyvae imports it.
"""
