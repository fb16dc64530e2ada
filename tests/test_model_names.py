import pytest

from server.model_names import split_adapter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.pth", ("a.pth", None)),
        ("a.pth:0.5", ("a.pth", 0.5)),
        ("a.pth:1e-3", ("a.pth", 0.001)),
        ("c:/x", ("c:/x", None)),
        ("a:b:2", ("a:b", 2.0)),
        ("2", ("2", None)),
    ],
)
def test_an_adapter_is_a_file_and_a_factor(text, expected):
    assert split_adapter(text) == expected


@pytest.mark.parametrize("text", ["", ":1", "x:nan", "x:inf", "x:0", "x:-1"])
def test_what_is_no_adapter(text):
    with pytest.raises(ValueError, match="adapter"):
        split_adapter(text)
