"""The folder of a server: its settings, and exports that meet or fail."""

import sys
import time
from concurrent import futures

import pytest
import yaml

from tests.helpers import model_server
from tests.helpers.exports import tiny
from training.export import saved_model, serving, warmup


def export_fake(monkeypatch):
    """Lets exports write the warm-up alone, without a network."""

    def fake(model, folder, num_samples, images=None, decision=None):
        time.sleep(0.01)  # Others may begin meanwhile.
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
        return {"num_samples": num_samples, "bytes": 0}

    monkeypatch.setattr(saved_model, "export_saved_model", fake)
    monkeypatch.setattr(warmup, "write", lambda *args: None)
    monkeypatch.setattr(warmup, "replay", lambda *args: None)


def test_the_configuration_names_each_model_once_and_keeps_two_versions(
    tmp_path, monkeypatch
):
    export_fake(monkeypatch)
    for name in ("plain", "plain", "dropout"):
        serving.export_version(tiny(), tmp_path, name=name)
    models = model_server.read_config(tmp_path / "models.config")
    assert [model.name for model in models] == ["plain", "dropout"]
    for model in models:
        assert model.base_path == f"/models/{model.name}"
        assert model.model_platform == "tensorflow"
        assert model.model_version_policy.latest.num_versions == 2


def test_the_compose_file_starts_the_official_server_on_this_folder(
    tmp_path, monkeypatch
):
    export_fake(monkeypatch)
    serving.export_version(tiny(), tmp_path, name="m")
    content = yaml.safe_load((tmp_path / "compose.yaml").read_text())
    (service,) = content["services"].values()
    assert service["image"].startswith("tensorflow/serving:")
    assert service["volumes"] == [".:/models:ro"]
    assert "--model_config_file=/models/models.config" in service["command"]
    assert "--enable_model_warmup=true" in service["command"]
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]


def test_other_settings_of_the_server_stay(tmp_path, monkeypatch):
    export_fake(monkeypatch)
    config = (
        'model_config_list { config { name: "old" base_path: "/elsewhere" '
        'version_labels { key: "stable" value: 3 } } }'
    )
    (tmp_path / "models.config").write_text(config)
    (tmp_path / "compose.yaml").write_text("mine")
    serving.export_version(tiny(), tmp_path, name="old")
    assert (tmp_path / "models.config").read_text() == config
    serving.export_version(tiny(), tmp_path, name="new")
    old, new = model_server.read_config(tmp_path / "models.config")
    assert (old.base_path, old.version_labels["stable"]) == ("/elsewhere", 3)
    assert new.name == "new"
    assert (tmp_path / "compose.yaml").read_text() == "mine"


def test_exports_at_the_same_time_get_versions_of_their_own(tmp_path, monkeypatch):
    export_fake(monkeypatch)
    model = tiny()
    (tmp_path / "m" / "7").mkdir(parents=True)
    (tmp_path / "m" / "08.old").mkdir()
    with futures.ThreadPoolExecutor(4) as pool:
        reports = pool.map(
            lambda _: serving.export_version(model, tmp_path, name="m"), range(6)
        )
        assert sorted(report["version"] for report in reports) == [*range(8, 14)]


def test_what_fails_leaves_no_version(tmp_path, monkeypatch):
    model = tiny()
    with pytest.raises(ValueError, match="letters, digits.*name=a/b"):
        serving.export_version(model, tmp_path, name="a/b")
    (tmp_path / "models.config").write_text("model_list {}")
    with pytest.raises(ValueError, match="Cannot read .*models.config"):
        serving.export_version(model, tmp_path, name="m")
    (tmp_path / "models.config").unlink()
    export_fake(monkeypatch)

    def fail(*args):
        raise ValueError("No answer.")

    monkeypatch.setattr(warmup, "replay", fail)
    with pytest.raises(ValueError, match="No answer"):
        serving.export_version(model, tmp_path, name="m")
    assert not list((tmp_path / "m").iterdir())
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ImportError, match="pip install tensorflow-serving-api"):
        serving.export_version(model, tmp_path, name="m")
    assert not (tmp_path / "models.config").exists()
