from halfnas.reporting.known import known_space


def test_spaces_by_name():
    assert known_space("darts").name == "darts"
    assert [known_space(name) for name in ("mine", "../dataset/digits", "a\0b", "x" * 5000, "")] == [None] * 5
