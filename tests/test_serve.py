"""What the API process says of itself."""

from types import SimpleNamespace

import pytest

from server import serve


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 80), "http://127.0.0.1:80"),
        (("::1", 8000, 0, 0), "http://[::1]:8000"),
    ],
)
def test_the_url_in_the_log_can_be_opened(address, url):
    assert serve._url_of(SimpleNamespace(getsockname=lambda: address)) == url
