"""The services of a program that finds leads, with made-up data: what the jobs of fastapi_app.py and flask_app.py call.

It is also what a worker of its own names. From the repository's root:

    REDIS_URL=embedded:// python -m redqueue.worker examples.services
"""

from __future__ import annotations

import csv
import io
from typing import Literal

import msgspec

from redqueue import INJECTED, JobContext, ServiceRegistry, job_method

registry = ServiceRegistry.get_instance()

Source = Literal["google", "yelp", "openstreetmap"]


class Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody looks for. A job whose arguments don't fit fails before the method is entered."""

    term: str
    city: str
    limit: int = 10


class Business(msgspec.Struct, frozen=True):
    """One result of a search."""

    name: str
    city: str
    rating: float
    source: Source


# A class of its own methods: the marked ones may be called by jobs, and a worker makes the object when it starts.


@registry.service("GooglePlacesService")
class GooglePlacesService:
    """Places by text."""

    @job_method(retries=5)
    async def text_search(self, search: Search) -> list[Business]:
        """Places whose name holds the term."""
        return made_up(search, "google", ("Corner", "Old Town"), 4.4)


@registry.service("YelpService")
class YelpService:
    """Businesses by term and city."""

    @job_method(retries=5)
    async def search(self, search: Search) -> list[Business]:
        """Businesses, the best first."""
        return made_up(search, "yelp", ("Sunny", "Corner"), 4.1)


@registry.service("OpenStreetMapService")
class OpenStreetMapService:
    """Nodes of a map. A plain method: it runs in a thread, so it may block."""

    @job_method()
    def nodes(self, search: Search) -> list[Business]:
        """Nodes with that amenity."""
        return made_up(search, "openstreetmap", ("Station",), 3.8)


# An object that needs others is made here and registered with the names of what jobs may call.


class BusinessFinderService:
    """Asks all sources, and keeps the best."""

    def __init__(self, google: GooglePlacesService, yelp: YelpService, open_street_map: OpenStreetMapService) -> None:
        self._google, self._yelp, self._open_street_map = google, yelp, open_street_map

    async def search_businesses(self, search: Search, user_id: str, context: JobContext = INJECTED) -> list[Business]:
        """The best of all sources, one entry a name. The worker fills in the context; a job can't."""
        found = [*await self._google.text_search(search), *await self._yelp.search(search)]
        found += self._open_street_map.nodes(search)
        best: dict[str, Business] = {}
        for business in sorted(found, key=lambda one: -one.rating):
            best.setdefault(business.name, business)
        print(f"job {context.job_id}: {len(best)} businesses for {user_id}, attempt {context.attempt}")
        return list(best.values())[: search.limit]

    def api_key(self) -> str:
        """Not named below, so no job can call it."""
        return "secret"


class ExportService:
    """Businesses as files."""

    def export_to_csv(self, businesses: list[Business]) -> str:
        """A table, with a line of names."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["name", "city", "rating", "source"])
        table.writerows((one.name, one.city, one.rating, one.source) for one in businesses)
        return text.getvalue()

    def count_by_source(self, businesses: list[Business]) -> dict[Source, int]:
        """How many each source found."""
        counts: dict[Source, int] = {}
        for one in businesses:
            counts[one.source] = counts.get(one.source, 0) + 1
        return counts


def made_up(search: Search, source: Source, kinds: tuple[str, ...], rating: float) -> list[Business]:
    """Results that no web service was asked for."""
    return [Business(f"{kind} {search.term.title()}", search.city, rating, source) for kind in kinds]


finder = BusinessFinderService(GooglePlacesService(), YelpService(), OpenStreetMapService())
exports = ExportService()
registry.register_service("BusinessFinderService", finder, [finder.search_businesses])
registry.register_service("ExportService", exports, ["export_to_csv", "count_by_source"], strict=True)
