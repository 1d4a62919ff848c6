import pytest
from lightning.pytorch.loggers import CSVLogger

from halfnas import Mask, build_supernet
from halfnas.callbacks import publish_genotype, publish_mask

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("scored", [False, True])
def test_mask_is_drawn(tmp_path, space, scored):
    mask = Mask.random(space, ratio=0.5, seed=0)
    if scored:
        edges = [{name: float(i) for i, name in enumerate(names)} for names in space.candidates("normal")]
        mask = Mask("darts", mask.kept, importance={"normal": edges, "reduce": edges})
    publish_mask(mask, space, tmp_path / "figures", [])

    assert [file.name for file in tmp_path.rglob("*.png")] == ["mask.png"]
    assert (tmp_path / "figures/mask.png").read_bytes().startswith(PNG)


def test_genotype_is_drawn_whatever_the_logger(tmp_path, space):
    supernet = build_supernet(space, Mask.random(space, ratio=0.5, seed=0))
    publish_genotype(
        supernet.genotype(),
        supernet.strengths(),
        space,
        tmp_path / "figures",
        [CSVLogger(tmp_path)],
    )

    assert sorted(file.name for file in tmp_path.rglob("*.png")) == ["genotype.png", "strengths.png"]
    for file in (tmp_path / "figures").iterdir():
        assert file.read_bytes().startswith(PNG)


def test_what_must_be_said_stands_above_the_pictures(tmp_path, space, monkeypatch):
    titles = []
    monkeypatch.setattr("halfnas.callbacks.publish.save", lambda figure, path: titles.append(figure.get_suptitle()))
    supernet = build_supernet(space)
    publish_genotype(supernet.genotype(), supernet.strengths(), space, tmp_path, [], title="A tie-break: " + "so " * 40)
    assert titles[0].startswith("A tie-break: so so")
    assert titles[1] == f"Mixing weights\n{titles[0]}"
    assert max(map(len, titles[0].splitlines())) <= 84
