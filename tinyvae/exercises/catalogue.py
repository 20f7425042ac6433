"""The ten exercises."""

from tinyvae.exercises import adam, backward, codes, dense, images, weights

EXERCISES = sorted(
    (
        *dense.EXERCISES,
        *images.EXERCISES,
        *codes.EXERCISES,
        *adam.EXERCISES,
        *backward.EXERCISES,
        *weights.EXERCISES,
    ),
    key=lambda exercise: exercise.file,
)
