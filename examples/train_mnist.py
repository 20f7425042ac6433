"""Train the tutorial's autoencoder or VAE on MNIST: numbers, pictures and a checkpoint in a folder.

python examples/train_mnist.py                        # the convolutional VAE, z = 20
python examples/train_mnist.py --latent-dim 2         # with a latent space to look at
python examples/train_mnist.py --model ae             # without the V
python examples/train_mnist.py --backend cupy         # on a GPU
python examples/train_mnist.py --resume runs/vae-conv-z20 --epochs 40
"""

import sys

try:
    from tinyvae.training import program
except KeyboardInterrupt:  # Ctrl-C while Python loads modules
    sys.exit(130)


def main(argv=None):
    return program.main(__file__, __doc__, dataset="auto", argv=argv)


if __name__ == "__main__":
    sys.exit(main())
