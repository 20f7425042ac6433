"""The ten exercises."""

from tinyvae.exercises import adam, backward, codes, dense, images, transposed, weights

EXERCISES = sorted(
    (
        *dense.EXERCISES,
        *images.EXERCISES,
        *transposed.EXERCISES,
        *codes.EXERCISES,
        *adam.EXERCISES,
        *backward.EXERCISES,
        *weights.EXERCISES,
    ),
    key=lambda exercise: exercise.file,
)
