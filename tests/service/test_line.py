"""What waits is computed together, has a bound and a deadline, and is dropped when nobody waits."""

import io
import threading
import time
from concurrent.futures import CancelledError, wait

import pytest
from PIL import Image

from fashion.service.line import FullError, LateError, Line
from fashion.service.metrics import Metrics
from fashion.service.photos import Labelled, Photo, Refused
from fashion.service.settings import Limits

PATIENCE_S = 120


def photo(grey=240, size=(20, 30), kind="PNG"):
    """Return the file of a photo of one grey."""
    content = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(content, kind)
    return content.getvalue()


@pytest.fixture
def line():
    """Returns line(**limits), a line of photos."""
    lines = []

    def make(**limits):
        lines.append(Line(Limits(**{"max_photos": 1, **limits}), Metrics(), decoders=2))
        return lines[-1]

    yield make
    for each in lines:
        each.close()


def wanted(model, grey=100, deadline=PATIENCE_S, content=None):
    content = photo(grey) if content is None else content
    return Photo(str(grey), content, model, time.monotonic() + deadline)


def results(photos):
    return [each.outcome.result(PATIENCE_S) for each in photos]


def held(line, net, model):
    """Have the network compute one photo, and wait with it."""
    net.gate.clear()
    first = wanted(model, 1)
    line.enter([first])
    assert net.asked.acquire(timeout=PATIENCE_S)
    return first


@pytest.fixture
def decoded(until):
    """Returns decoded(line, number), which waits until so many photos are."""
    return lambda line, number: until(lambda: len(line._decoded) == number)


def test_what_waits_is_computed_together_in_few_sizes(line, served, network, decoded):
    line, net = line(max_batch=8, queue=64), network()
    model = served(net)
    first = held(line, net, model)
    waiting = [wanted(model, 10 + number) for number in range(13)]
    line.enter(waiting)
    decoded(line, 13)
    net.gate.set()
    results([first, *waiting])
    assert [len(batch) for batch in net.batches] == [1, 8, 4, 1]
    computed = [grey for batch in net.batches[1:] for grey in batch]
    assert sorted(computed) == [*range(10, 23)]


@pytest.mark.parametrize(("most", "sizes"), [(1, [1, 1, 1]), (3, [3]), (2, [2, 1])])
def test_batches_have_a_most(most, sizes, line, served, network, decoded):
    line, net = line(max_batch=most), network()
    model = served(net)
    first = held(line, net, model)
    waiting = [wanted(model) for _ in range(3)]
    line.enter(waiting)
    decoded(line, 3)
    net.gate.set()
    results([first, *waiting])
    assert [len(batch) for batch in net.batches[1:]] == sizes


def test_one_alone_does_not_wait_for_others(line, served, network):
    line, net = line(), network()
    assert isinstance(results_of_one(line, served(net)), Labelled)
    assert [len(batch) for batch in net.batches] == [1]


def results_of_one(line, model):
    one = wanted(model)
    line.enter([one])
    return one.outcome.result(PATIENCE_S)


def test_photos_of_two_models_are_never_computed_together(line, until, served, decoded, network):
    line, old, new = line(), network(0.6), network(0.8)
    before, after = served(old), served(new)
    first = held(line, old, before)
    waiting = [wanted(model) for model in (before, before, after, after, before)]
    for each in waiting:
        line.enter([each])
        until(lambda each=each: each.decoded)
    decoded(line, 5)
    old.gate.set()
    shares = [float(each.probabilities[0]) for each in results([first, *waiting])]
    assert shares == pytest.approx([0.6, 0.6, 0.6, 0.8, 0.8, 0.6])
    assert [len(batch) for batch in old.batches] == [1, 2, 1]
    assert [len(batch) for batch in new.batches] == [2]


def test_a_full_line_takes_all_or_none(line, until, served, network):
    line, net = line(queue=4), network()
    model = served(net)
    first = held(line, net, model)
    line.enter([wanted(model), wanted(model)])
    assert line.free == 1
    with pytest.raises(FullError):
        line.enter([wanted(model), wanted(model)])
    assert line.free == 1
    last = wanted(model)
    line.enter([last])
    with pytest.raises(FullError):
        line.enter([wanted(model)])
    assert line.crowded_s() > 0
    net.gate.set()
    results([first, last])
    until(lambda: line.free == 4)
    assert line.crowded_s() == 0
    assert sum(map(len, net.batches)) == 4


def test_what_nobody_waits_for_is_not_computed(line, until, served, network, decoded):
    line, net = line(), network()
    model = served(net)
    first = held(line, net, model)
    waiting = [wanted(model, 10 + number) for number in range(6)]
    line.enter(waiting)
    decoded(line, 6)
    for each in waiting[::2]:
        assert each.outcome.cancel()
    net.gate.set()
    results([first, *waiting[1::2]])
    assert sorted(grey for batch in net.batches[1:] for grey in batch) == [11, 13, 15]
    with pytest.raises(CancelledError):
        waiting[0].outcome.result(0)
    until(lambda: line.free == 64)


def test_what_is_too_late_is_neither_decoded_nor_computed(line, until, served, network, decoded):
    line, net = line(), network()
    model = served(net)
    late = wanted(model, deadline=-1)
    line.enter([late])
    with pytest.raises(LateError):
        late.outcome.result(PATIENCE_S)
    assert late.decoded == 0

    first = held(line, net, model)
    waiting = wanted(model)
    line.enter([waiting])
    decoded(line, 1)
    waiting.deadline = time.monotonic()  # its time passes while it waits
    net.gate.set()
    with pytest.raises(LateError):
        waiting.outcome.result(PATIENCE_S)
    results([first])
    assert sum(map(len, net.batches)) == 1
    until(lambda: line.free == 64)


def test_a_photo_that_cannot_be_read_never_enters_a_batch(line, served, network):
    line, net = line(), network()
    model = served(net)
    photos = [wanted(model), wanted(model, content=b"no photo"), wanted(model)]
    line.enter(photos)
    good, bad, other = results(photos)
    assert isinstance(good, Labelled)
    assert isinstance(other, Labelled)
    assert bad == Refused("unreadable", "can't be read: not a photo of a known format.")
    assert sum(map(len, net.batches)) == 2


def test_a_network_that_fails_ends_its_photos_alone(line, until, served, network):
    line = line()

    def broken(photos):
        raise RuntimeError("out of order")

    net = network()
    net.probabilities = broken
    one = wanted(served(net))
    line.enter([one])
    with pytest.raises(RuntimeError, match="out of order"):
        one.outcome.result(PATIENCE_S)
    assert isinstance(results_of_one(line, served(network())), Labelled)
    until(lambda: line.free == 64)


def test_many_threads_enter_at_a_time_and_each_photo_ends_once(line, served, network):
    line, net = line(queue=8, max_batch=4), network()
    model = served(net)
    ended, refused = [], []

    def send(grey):
        one = wanted(model, grey)
        try:
            line.enter([one])
        except FullError:
            refused.append(grey)
            return
        ended.append((grey, one.outcome))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait([outcome for _, outcome in ended], PATIENCE_S)
    assert len(ended) + len(refused) == 60
    assert len(ended) >= 8
    computed = sorted(grey for batch in net.batches for grey in batch)
    assert computed == sorted(grey for grey, _ in ended)
    assert max(map(len, net.batches)) <= 4
