import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Call a function of plots and return the figure that it saved and the pixels of its file."""
    drawn = []
    save = Figure.savefig

    def record(self, *arguments, **named):
        drawn.append(self)
        save(self, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", record)

    def call(function, *data, **options):
        path = tmp_path / "figure.png"
        assert function(*data, path, "the title", **options) is None
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        return drawn[-1], imread(path)[..., :3].mean(axis=2)

    return call
