import pytest

from halfnas.spaces import DartsSpace, Genotype, find_genotype, published_cells
from halfnas.spaces.published import is_published


def test_the_stable_names():
    assert {"darts_v1", "darts_v2", "snas", "pc_darts", "p_darts"} <= set(published_cells())


@pytest.mark.parametrize("name", sorted(published_cells()))
def test_every_cell_is_valid_and_sourced(name):
    cell = published_cells()[name]
    assert name == name.lower()
    DartsSpace(init_channels=4, num_cells=3).check_genotype(cell.genotype)
    assert cell.genotype.normal_concat == cell.genotype.reduce_concat == (2, 3, 4, 5)
    assert cell.cifar10_test_error_percent
    assert all(2 < error < 4 for error in cell.cifar10_test_error_percent)
    assert len(cell.sources) == len(cell.cifar10_test_error_percent)
    assert all(cell.sources)
    assert cell.params


def test_errors_as_published():
    # READMEs of quark0/darts (2.76) and yuhuixu1993/PC-DARTS (3.00, 2.85, 2.57).
    first = {name: cell.cifar10_test_error_percent[0] for name, cell in published_cells().items()}
    wanted = {"darts_v1": 3.0, "darts_v2": 2.76, "snas": 2.85, "pc_darts": 2.57}
    assert {name: first[name] for name in wanted} == wanted


def test_darts_v2_gene_by_gene():
    # Figures 4 and 5 of the DARTS paper (arXiv 1806.09055).
    genotype = find_genotype("darts_v2")
    assert genotype.normal == (
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("skip_connect", 0),
        ("skip_connect", 0), ("dil_conv_3x3", 2),
    )  # fmt: skip
    assert genotype.reduce == (
        ("max_pool_3x3", 0), ("max_pool_3x3", 1),
        ("skip_connect", 2), ("max_pool_3x3", 1),
        ("max_pool_3x3", 0), ("skip_connect", 2),
        ("skip_connect", 2), ("max_pool_3x3", 1),
    )  # fmt: skip


def test_a_published_cell_is_known_whatever_its_file(tmp_path):
    """Two inputs of a node of cate_small are the same state, which no search in that space finds."""
    genotype = find_genotype("cate_small")
    loaded = find_genotype(str(genotype.save(tmp_path / "genotype.json")))
    assert is_published(loaded)
    DartsSpace(init_channels=4, num_cells=3).check_genotype(loaded)
    assert not is_published(Genotype("darts", {**genotype.cells, "normal": genotype.normal[::-1]}))


def test_all_differ():
    genotypes = [cell.genotype for cell in published_cells().values()]
    assert len(set(genotypes)) == len(genotypes)


@pytest.mark.parametrize("spelling", ["pc_darts", "PC_DARTS", "Pc_Darts"])
def test_case_does_not_matter(spelling):
    assert find_genotype(spelling) == published_cells()["pc_darts"].genotype


def test_a_file(tmp_path):
    genotype = Genotype("darts", {"normal": (("sep_conv_3x3", 0),)})
    assert find_genotype(str(genotype.save(tmp_path / "genotype.json"))) == genotype


def test_neither_file_nor_name(tmp_path):
    with pytest.raises(ValueError, match=r"`genotype` must be .* got 'darts_v3'.*neither a file") as caught:
        find_genotype("darts_v3")
    assert all(name in str(caught.value) for name in published_cells())
    with pytest.raises(ValueError, match="neither a file nor one of"):
        find_genotype(str(tmp_path / "genotype.json"))


def test_a_broken_file(tmp_path):
    path = tmp_path / "genotype.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"genotype\.json: not complete JSON"):
        find_genotype(str(path))
