"""Files absent, damaged, downloaded; the published files where they are at hand."""

import hashlib
import pickle
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from halfnas.data import Cifar10, SearchData

FOLDER = "cifar-10-batches-py"
PIXELS = (np.arange(4 * 3072) % 251).astype(np.uint8).reshape(4, 3072)
FILES = {
    "data_batch_1": {"data": PIXELS, "labels": [3, 1, 4, 1]},
    "test_batch": {"data": np.full((2, 3072), 7, dtype=np.uint8), "labels": [5, 9]},
    "batches.meta": {"label_names": list("abcdefghij")},
}
CONTENT = {name: pickle.dumps(content) for name, content in FILES.items()}
MD5 = {name: hashlib.md5(content).hexdigest() for name, content in CONTENT.items()}


class SmallCifar(datasets.CIFAR10):
    """torchvision's class for a CIFAR-10 of six images."""

    train_list = [["data_batch_1", MD5["data_batch_1"]]]  # noqa: RUF012
    test_list = [["test_batch", MD5["test_batch"]]]  # noqa: RUF012
    meta = {**datasets.CIFAR10.meta, "md5": MD5["batches.meta"]}  # noqa: RUF012


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(Cifar10, "source", SmallCifar)


@pytest.fixture
def no_network(monkeypatch):
    """A connection that breaks after the first bytes."""

    def download(url, root, filename, md5):
        Path(root, filename).write_bytes(b"half of an archive")
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", download)


@pytest.fixture
def network(monkeypatch):
    """A server of the small CIFAR-10; a list of the addresses asked."""
    asked = []

    def download(url, root, filename, md5):
        asked.append(url)
        print("a progress bar", file=sys.stderr)
        Path(root, filename).write_bytes(b"an archive")
        write(Path(root))

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", download)
    return asked


def write(root, leave_out=()):
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, content in CONTENT.items():
        if name not in leave_out:
            (root / FOLDER / name).write_bytes(content)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_already_there_are_taken(small, no_network, make_dataset, tmp_path):
    write(tmp_path)
    dataset = make_dataset("cifar10", tmp_path)
    dataset.prepare()
    image, label = dataset.train()[2]
    assert label == 4
    # The files hold the red plane, then green, then blue, each by rows.
    assert torch.equal(image, torch.from_numpy(PIXELS[2].reshape(3, 32, 32)))
    assert dataset.train().tensors[0].is_contiguous(), "as in the files, so that nothing is copied"
    assert [label for _, label in dataset.test()] == [5, 9]


def test_downloaded_when_absent(small, network, make_dataset, tmp_path, capfd):
    root = tmp_path / "new" / "data"
    dataset = make_dataset("cifar10", root)
    dataset.prepare()
    assert network == ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"]
    assert tree(root) == {f"{FOLDER}/{name}": content for name, content in CONTENT.items()}
    assert list(root.iterdir()) == [root / FOLDER]
    assert len(dataset.train()) == 4
    assert capfd.readouterr() == ("", "")
    make_dataset("cifar10", root).prepare()
    assert len(network) == 1


def test_a_damaged_folder_is_mended(small, network, make_dataset, tmp_path):
    write(tmp_path, leave_out=["test_batch"])
    (tmp_path / FOLDER / "data_batch_1").write_bytes(b"cut off")
    (tmp_path / FOLDER / "mine.txt").write_text("kept")
    make_dataset("cifar10", tmp_path).prepare()
    assert tree(tmp_path) == {**{f"{FOLDER}/{name}": c for name, c in CONTENT.items()}, f"{FOLDER}/mine.txt": b"kept"}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("exists", [True, False])
def test_absent_and_no_network(no_network, make_dataset, tmp_path, name, exists):
    root = tmp_path if exists else tmp_path / "new" / "data"
    title, folder = {"cifar10": ("CIFAR-10", FOLDER), "cifar100": ("CIFAR-100", "cifar-100-python")}[name]
    message = (
        f"`paths.data_dir`={root} holds no {title} and it could not be downloaded (<urlopen error no network>); "
        f"put {folder} there or connect to the internet"
    )
    with pytest.raises(ValueError, match="could not be downloaded") as error:
        make_dataset(name, root).prepare()
    assert str(error.value) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["file missing", "file cut off", "folder empty"])
def test_damaged_and_no_network(small, no_network, make_dataset, tmp_path, damage):
    write(tmp_path, leave_out={"file missing": ["test_batch"], "folder empty": CONTENT}.get(damage, []))
    if damage == "file cut off":
        (tmp_path / FOLDER / "data_batch_1").write_bytes(CONTENT["data_batch_1"][:100])
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="holds a damaged CIFAR-10 and it could not be downloaded"):
        make_dataset("cifar10", tmp_path).prepare()
    assert tree(tmp_path) == before
    assert list(tmp_path.iterdir()) == [tmp_path / FOLDER]


def test_other_files_in_the_folder_stay(no_network, make_dataset, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds no CIFAR-10"):
        make_dataset("cifar10", tmp_path).prepare()
    assert tree(tmp_path) == {"notes.txt": b"mine"}


def test_what_another_job_put_there_meanwhile_stays(monkeypatch, make_dataset, tmp_path):
    def download(url, root, filename, md5):
        (Path(root).parent / "other").write_text("its")
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", download)
    with pytest.raises(ValueError, match="no network"):
        make_dataset("cifar10", tmp_path / "data").prepare()
    assert tree(tmp_path) == {"data/other": b"its"}


def test_an_archive_with_the_wrong_content(monkeypatch, make_dataset, tmp_path):
    def download(url, root, filename, md5):
        Path(root, filename).write_bytes(b"a login page")
        raise RuntimeError("File not found or corrupted.")  # what torchvision says

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", download)
    with pytest.raises(ValueError, match=r"holds no CIFAR-10 and it could not be downloaded \(File not found or corr"):
        make_dataset("cifar10", tmp_path).prepare()
    assert list(tmp_path.iterdir()) == []


def test_data_dir_is_a_file(no_network, make_dataset, tmp_path):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(ValueError, match=r"`paths.data_dir`=.*data holds no CIFAR-10 .*File exists"):
        make_dataset("cifar10", tmp_path / "data").prepare()
    assert (tmp_path / "data").read_text() == "mine"


def test_made_without_touching_the_disk(no_network, make_dataset, tmp_path):
    make_dataset("cifar10", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "num_classes"), [("cifar10", 10), ("cifar100", 100)])
def test_published_files(real_cifar_dir, make_dataset, kind, num_classes):
    dataset = make_dataset(kind, real_cifar_dir)
    dataset.prepare()
    for images, number in ((dataset.train(), 50_000), (dataset.test(), 10_000)):
        pixels, labels = images.tensors
        assert pixels.shape == (number, 3, 32, 32)
        assert pixels.dtype == torch.uint8
        assert labels.bincount().tolist() == [number // num_classes] * num_classes


def test_published_cifar10_has_the_mean_and_std_of_the_yaml(real_cifar_dir, make_dataset):
    dataset = make_dataset("cifar10", real_cifar_dir)
    images, labels = dataset.train().tensors
    pixels = dataset.normalization(torch.device("cpu"))(images[::10]).double()
    # A tenth of the images; the spread of the mean of 5,000 images is about 0.01.
    torch.testing.assert_close(pixels.mean(dim=(0, 2, 3)), torch.zeros(3).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(pixels.std(dim=(0, 2, 3)), torch.ones(3).double(), atol=0.03, rtol=0)
    # Image 0 of data_batch_1 is a frog (class 6) whose first pixel is (59, 62, 63).
    assert images[0, :, 0, 0].tolist() == [59, 62, 63]
    assert labels[0] == 6


def test_a_search_splits_the_published_order(real_cifar_dir, make_dataset):
    data = SearchData(make_dataset("cifar10", real_cifar_dir), batch_size=5000, seed=0)
    labels = data.dataset.train().tensors[1]
    second = torch.cat([numbers for _, numbers in data.val_dataloader()])
    assert torch.equal(second, labels[25_000:])
    weights, architecture = zip(*data.train_dataloader(), strict=True)
    for batches, half in ((weights, labels[:25_000]), (architecture, labels[25_000:])):
        assert torch.equal(torch.cat([numbers for _, numbers in batches]).bincount(), half.bincount())
