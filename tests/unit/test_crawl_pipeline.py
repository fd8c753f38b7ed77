"""What the crawl's pipeline decides before it fetches anything."""

import pyarrow as pa
import pytest

from facap.crawl.config import CrawlConfig
from facap.crawl.pipeline import require_contact
from facap.errors import ConfigError


def items(*urls: str) -> pa.Table:
    return pa.table({"url": list(urls)})


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/a.jpg", "http://8.8.8.8/a.jpg", "http://10.0.0.1/a.jpg", "http://[::1]/a.jpg"],
)
def test_a_contact_is_required_for_hosts_that_may_be_anyones(url: str) -> None:
    own = "http://127.0.0.1:8000/a.jpg"
    with pytest.raises(ConfigError, match=r"crawl.contact is empty, but .* may be anyone's"):
        require_contact(CrawlConfig(allow_networks=("127.0.0.0/8",)), items(own, url))
    require_contact(CrawlConfig(contact="bot@shop.example"), items(own, url))


def test_none_is_required_for_what_is_allowed_by_name() -> None:
    config = CrawlConfig(allow_networks=("127.0.0.0/8", "fd00::/8"))
    require_contact(
        config, items("http://127.0.0.1:8000/a", "http://localhost/a", "http://[fd00::1]/a", "junk")
    )
    with pytest.raises(ConfigError):
        require_contact(CrawlConfig(), items("http://localhost/a"))
