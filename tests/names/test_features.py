"""Hashed words and pairs, beside scikit-learn's."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.utils import murmurhash3_32

from fashion.names.features import PLACES, count_places, inverse_frequencies, murmur3, weigh
from fashion.names.words import words

HOSTILE = [
    "",
    " ",
    "'",
    "--- -- -",
    "a",
    "nike nike nike nike air air",
    "Ünïcödé Straße İstanbul ΑΣ Ω",
    "日本語 のシャツ 한국어 рубашка हिन्दी शर्ट",
    "\ud800 lone surrogate \udfff",
    "nul\x00inside tab\tand\r\nline",
    "=cmd|'/c calc'!A0",
    "👕👟 emoji 👨‍👩‍👧 joined",
    "word " * 500,
    "x" * 5_000,
    "é" * 999 + " tail",
    "٣٤٥ ⅷ ² digits 007",
    "soft\u00adhyphen zero\u200bwidth ‮reversed",
]
ORDINARY = ["Puma Men Navy Blue", "Nike Women Grey Running", "Puma Women Navy Grey Running"]


def dense(features):
    shape = (len(features.ends) - 1, PLACES)
    return csr_array((features.values, features.places, features.ends), shape=shape).toarray()


def test_murmur3_equals_scikit_learns():
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 256, length, np.uint8).tobytes() for length in range(70)]
    texts = [texts[place] for place in rng.permutation(len(texts))]
    ours = murmur3(texts)
    assert ours.tolist() == [murmurhash3_32(text, positive=True) for text in texts]


def test_murmur3_of_nothing():
    assert murmur3([]).tolist() == []
    assert murmur3([b""]).tolist() == [0]


@pytest.mark.parametrize("fitted_on", [ORDINARY, ORDINARY + HOSTILE])
def test_features_equal_scikit_learns(fitted_on):
    vectorizer = HashingVectorizer(
        n_features=2**16, ngram_range=(1, 2), alternate_sign=False, norm=None
    )
    every = ORDINARY + HOSTILE
    kept = {name: [word for word in words(name) if len(word) > 1] for name in every}
    texts = {name: " ".join(kept[name]) for name in every}
    theirs = TfidfTransformer(sublinear_tf=True)
    theirs.fit(vectorizer.transform([texts[name] for name in fitted_on]))
    expected = theirs.transform(vectorizer.transform([texts[name] for name in every])).toarray()

    rarity = inverse_frequencies(count_places([kept[name] for name in fitted_on]))
    ours = dense(weigh(count_places([kept[name] for name in every]), rarity))

    assert (expected != 0).sum() > 60
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(rarity, theirs.idf_, rtol=0, atol=1e-6)


def test_a_name_weighs_the_same_alone_and_among_others():
    kept = [words(name) for name in ORDINARY]
    rarity = inverse_frequencies(count_places(kept))
    together = weigh(count_places(kept), rarity)
    for number, own in enumerate(kept):
        places, values = weigh(count_places([own]), rarity).row(0)
        np.testing.assert_array_equal(places, together.row(number)[0])
        np.testing.assert_array_equal(values, together.row(number)[1])


def test_no_name_has_no_features():
    features = weigh(count_places([]), np.ones(PLACES))
    assert features.ends.tolist() == [0]
    assert len(features.values) == 0
