from fashion.review.status import describe


def test_a_new_folder_has_nothing_to_say_yet(store):
    assert list(describe(store)) == [
        "0 photos kept, 0 bytes",
        "0 unsure and 0 blind wait",
        "0 photos decided by 0 people",
        "no sure photo was drawn for the blind share yet, which tells the live precision",
    ]


def test_what_waits_what_was_decided_and_how_right_sure_labels_are(store, offer, decide, jpeg):
    unsure = [offer(store, number) for number in range(3)]
    blind = [offer(store, number, sure=True, confidence=0.95) for number in range(10, 15)]
    blind.append(offer(store, 20, label="Hats", sure=True, confidence=0.95))
    for sha256, label in zip(blind, ["Tops"] * 3 + ["Shirts"], strict=False):
        decide(store, sha256, label)
    decide(store, unsure[0], "Tops")
    decide(store, unsure[0], kind="no_class", person="ben")
    size = sum(len(jpeg(number)) for number in (0, 1, 2, *range(10, 15), 20))
    assert list(describe(store)) == [
        f"9 photos kept, {size / 1000:.1f} kB",
        "2 unsure and 2 blind wait",
        "5 photos decided by 2 people",
        "1 photo on which people disagree, so that nothing is exported:",
        f"  0.jpg ({unsure[0][:12]}…) anna: Tops, ben: no class",
        "sha256:one, sure from 0.9000: 4 of 6 blind photos decided, 3 right: 75.0% "
        "(28.4% to 97.2%)",
        "  Tops: 4 of 5 blind photos decided, 3 right: 75.0% (28.4% to 97.2%)",
    ]
