"""One site for all tests of a process: its parts are killed and come back, its ledger only grows."""

import sys
from collections.abc import Generator, Iterator

import pytest

from tests.faults.load import Load, Pipeline
from tests.faults.site import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if sys.platform != "linux":
        pytest.skip("finds the web server's workers through /proc")
    site = Site(tmp_path_factory.mktemp("faults") / "data")
    try:
        site.start()
        yield site
    finally:
        site.remove()


@pytest.fixture(scope="session")
def pipeline(site: Site) -> Pipeline:
    return site.pipeline()


@pytest.fixture
def load(pipeline: Pipeline) -> Load:
    """Not begun yet: `with load:` begins it.

    Some 300 records a second. At full speed the rounds of kills leave a ledger of which the packs of later tests, and
    looking at every record, take minutes.
    """
    return Load(pipeline, pace=0.005)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the web server said last: the site's logs go with its folder."""
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.failed and isinstance(site, Site):
        report.sections.append(("the web server's last words", site.web.recent_output()))
    return report
