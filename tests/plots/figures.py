"""What the tests of the figures share."""


def vae_history(epochs, kl=5.0):
    """The history of a VAE."""
    return [
        {
            "epoch": epoch,
            "train_total": 100.0 - epoch + kl,
            "train_reconstruction": 100.0 - epoch,
            "train_kl": kl,
            "train_mse": 0.1,
            "test_total": 110.0 - epoch + kl,
            "test_reconstruction": 110.0 - epoch,
            "test_kl": kl,
            "test_mse": 0.1,
            "beta": 1.0,
        }
        for epoch in range(1, epochs + 1)
    ]


def labels_of(axis):
    return [label.get_text() for label in axis.get_ticklabels()]
