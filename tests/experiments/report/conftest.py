import pytest

from pgx_jax.experiments.report import style


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves the figures out, where a test reads text only."""
    monkeypatch.setattr(style, "data_uri", lambda figure: "data:,")
