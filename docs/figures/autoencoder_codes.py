"""Draws docs/images/autoencoder_codes.svg: where the codes of an autoencoder lie, and a hole.

It trains a fully connected autoencoder with two latent dimensions on MNIST (TINYVAE_DATA names its
folder) for five epochs, which takes half a minute.
"""

import numpy as np
from drawing import svg
from matplotlib.patches import Circle
from scipy.spatial import cKDTree

from tinyvae import Adam, make_model
from tinyvae.data import load_dataset, minibatches, to_float
from tinyvae.training.plots import TEN, VERMILION, WIDTH, label_keys, mosaic, show

EPOCHS, BATCH = 5, 128

data = load_dataset()
model = make_model("ae", "mlp", latent_dim=2, hidden=(400,))
optimizer = Adam(model, lr=1e-3)
for epoch in range(EPOCHS):
    for index in minibatches(len(data.x_train), BATCH, seed=0, epoch=epoch):
        model.loss(to_float(data.x_train[index]))
        model.backward()
        optimizer.step()

codes = model.encode(to_float(data.x_train))
x, labels = to_float(data.x_test[:3000]), data.y_test[:3000]
shown = model.encode(x)
print(f"{data.name}: codes from {codes.min(axis=0)} to {codes.max(axis=0)}")

# The hole is the middle of the largest empty circle between the codes, among random midpoints.
rng = np.random.default_rng(0)
middles = (shown[rng.integers(0, 3000, 20_000)] + shown[rng.integers(0, 3000, 20_000)]) / 2
distance, _ = cKDTree(codes).query(middles)
hole, radius = middles[distance.argmax()], distance.max()
near = shown[np.argsort(((shown - hole) ** 2).sum(axis=1))[:400]]
start = near[0]  # from the nearest code through the hole to a code on the other side
side = (near - hole) @ (start - hole) / np.linalg.norm(near - hole, axis=1)
end = near[side.argmin()]
print(f"hole at {hole}, {radius:.2f} from the nearest of {len(codes)} codes")

with svg("autoencoder_codes", WIDTH, 3.5) as figure:
    left, column = figure.subfigures(1, 2, width_ratios=(11, 10))
    axes = left.subplots()
    colors = np.array(TEN)[labels]
    axes.scatter(*shown.T, s=2, c=colors, lw=0, rasterized=True)
    axes.add_patch(Circle((0, 0), 2, fill=False, color="black", lw=1.2))
    axes.add_patch(Circle(hole, radius, fill=False, color=VERMILION, lw=1.2))
    axes.plot(*np.stack([start, hole, end]).T, "-", color=VERMILION, lw=1)
    keys = {"ncols": 10, "handletextpad": 0, "columnspacing": 0.3}
    figure.legend(handles=label_keys(range(10)), loc="outside lower center", **keys)
    axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal", title="codes of 3000 test images")
    upper, lower = column.subplots(2, 1, height_ratios=(2, 2))
    path = np.concatenate([np.linspace(start, hole, 6), np.linspace(hole, end, 6)[1:]])[:10]
    show(upper, mosaic(model.decode(path.astype(np.float32)).reshape(2, 5, 28, 28), gap=2))
    upper.set_title("along the red line", fontsize=9)
    draws = model.decode(rng.standard_normal((10, 2), dtype=np.float32))
    show(lower, mosaic(draws.reshape(2, 5, 28, 28), gap=2))
    lower.set_title("ten draws from N(0, I)", fontsize=9)
