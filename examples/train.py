"""Train an autoencoder or VAE on data of your own: images of any size, or tables.

python examples/train.py --dataset fashion-mnist/                  # a folder of four IDX files
python examples/train.py --dataset pictures.npz --latent-dim 32    # keys as in Keras' mnist.npz
python examples/train.py --dataset table.csv --hidden 200,200      # columns of numbers
python examples/train.py --resume runs/table.csv-vae-mlp-z20-200x200 --epochs 40

Files .npz hold x_train and, if there are any, y_train, x_test and y_test; .npy and .csv one array.
Without a test set, one fifth of the examples, drawn with a fixed seed, becomes the test set.
"""

import sys

try:
    from tinyvae.training import program
except KeyboardInterrupt:  # Ctrl-C while Python loads modules
    sys.exit(130)


def main(argv=None):
    return program.main(__file__, __doc__, dataset=None, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
