"""Requests to NESO's portal use the calls and parameters that CKAN documents."""

from __future__ import annotations

import pytest

from fetchers.neso import endpoints as neso

BASE = "https://api.neso.energy/api/3/action"


def test_catalogue_requests_name_what_they_ask() -> None:
    assert (
        neso.build_package_show("demand-flexibility").full_url
        == f"{BASE}/package_show?id=demand-flexibility"
    )
    assert neso.build_resource_show("abc").full_url == f"{BASE}/resource_show?id=abc"


def test_a_search_carries_limit_order_and_filters() -> None:
    request = neso.build_datastore_search(
        neso.EAC_RESULTS, limit=10, offset=20, filters={"auctionProduct": "DCL"}
    )
    assert request.endpoint == "eac-results"
    assert request.params == (
        ("resource_id", "596f29ac-0387-4ba4-a6d3-95c243140707"),
        ("limit", "10"),
        ("offset", "20"),
        ("filters", '{"auctionProduct":"DCL"}'),
        ("sort", "deliveryStart desc"),
    )


def test_an_id_that_rolled_over_takes_the_place_of_the_known_one() -> None:
    request = neso.build_datastore_search(neso.DFS_UTILISATION, resource_id="new")
    assert dict(request.params)["resource_id"] == "new"


def test_sql_quotes_names() -> None:
    request = neso.build_datastore_sql(
        neso.EAC_RESULTS, ["auctionID", 'odd"name'], "\"deliveryStart\" > '2031-07-01'"
    )
    assert dict(request.params)["sql"] == (
        'SELECT "auctionID", "odd""name" FROM "596f29ac-0387-4ba4-a6d3-95c243140707" '
        "WHERE \"deliveryStart\" > '2031-07-01' LIMIT 32000"
    )


def test_a_file_is_taken_from_the_address_the_catalogue_gave() -> None:
    request = neso.build_download(neso.DEMAND_UPDATE, "https://api.neso.energy/x.csv")
    assert request.full_url == "https://api.neso.energy/x.csv"
    assert request.headers == (("Accept", "text/csv"),)


@pytest.mark.parametrize("limit", [0, 32_001])
def test_more_rows_than_the_portal_gives_are_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="1 to 32000"):
        neso.build_datastore_search(neso.DEMAND_UPDATE, limit=limit)
