"""The made-up offers: rows that need every modality."""

import numpy as np
import pandas as pd
import pytest

from mmkeras import samples


@pytest.fixture(scope="module")
def offers(tmp_path_factory):
    return samples.listings(400, 0, tmp_path_factory.mktemp("offers"))


def test_offers_are_deterministic_and_a_larger_sample_begins_with_the_smaller(offers, tmp_path):
    again = samples.listings(20, 0, tmp_path)
    pd.testing.assert_frame_equal(again.drop(columns="photo"), offers.head(20).drop(columns="photo"))
    other = samples.listings(20, 1, tmp_path)
    assert not other["price"].equals(again["price"])


def test_offers_have_gaps_in_all_columns_but_size_and_targets(offers):
    gaps = (offers == "").mean() + offers.isna().mean()
    assert gaps[["photo", "description", "brand", "age_years", "posted"]].between(0.01, 0.2).all()
    assert (gaps[["size_cm", "price", "sold"]] == 0).all()
    assert offers["sold"].value_counts(normalize=True).between(0.15, 0.6).all() and offers["sold"].nunique() == 3


def test_columns_tell_the_price_in_part(offers):
    price = np.log(offers["price"])
    assert (
        price.groupby(offers["brand"]).mean().loc["Albatross"]
        > price.groupby(offers["brand"]).mean().loc["no name"] + 0.4
    )
    assert price.corr(offers["size_cm"]) > 0.2
    worn = offers["description"].str.contains("tear|Faded|worn|glue")
    assert price[worn].mean() < price[~worn & (offers["description"] != "")].mean() - 0.2
    summer = offers["posted"].str[5:7].isin(["05", "06", "07", "08"])
    assert price[summer].mean() > price[~summer & (offers["posted"] != "")].mean()


def test_texts_never_name_what_is_offered(offers):
    assert not offers["description"].str.contains("balloon|kite|ball|umbrella|red|yellow|white").any()


def test_offers_need_a_folder():
    with pytest.raises(ValueError, match="`directory` must name a folder"):
        samples.listings(3)
