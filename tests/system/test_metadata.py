"""What an index of packages shows of an installed package."""

import re
from importlib.metadata import metadata


def test_links_of_the_description_are_absolute():
    links = re.findall(r"\]\(([^)]+)\)", metadata("skconvfilter")["Description"])
    assert len(links) > 10
    assert all(link.startswith("https://") for link in links)
    (picture,) = (link for link in links if link.endswith(".png"))
    assert "/raw/v" in picture
