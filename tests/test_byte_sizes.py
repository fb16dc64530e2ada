import pytest

from server.byte_sizes import shown_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (33_792, "34 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (9_949_999, "9.9 MB"),
        (9_950_000, "10 MB"),
        (12_976_128, "13 MB"),
        (3_055_062_405, "3.1 GB"),
        (26_540_868_485, "27 GB"),
        (10**15, "1,000 TB"),
    ],
)
def test_sizes_have_two_or_three_digits(count, text):
    assert shown_bytes(count) == text
