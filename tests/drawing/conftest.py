import pytest

from halfnas.spaces import Genotype
from other_space import OtherSpace


@pytest.fixture
def make_other():
    """make_other(kinds): the same space with other kinds of cells."""
    return OtherSpace


@pytest.fixture
def other():
    return OtherSpace()


@pytest.fixture
def other_genotype():
    return Genotype(
        "other",
        {
            "cell": (
                ("nor_conv_3x3", 0),
                ("nor_conv_1x1", 0),
                ("skip_connect", 1),
                ("avg_pool_3x3", 0),
                ("nor_conv_3x3", 1),
                ("nor_conv_3x3", 2),
            ),
            "stage": (("identity", 2), ("attention", 3)),
        },
    )
