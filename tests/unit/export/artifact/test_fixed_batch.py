"""A session that runs batches of one size alone: here on the processor, whose sessions bind memory as a GPU's do."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as futures
from functools import partial

import numpy as np
import pytest
from direct_inputs import inputs_of
from waiting import until

from gan_export.artifact import Artifact, open_session, run_session
from gan_export.artifact.fixed_batch import FixedBatchSession, on_gpu_thread
from gan_export.artifact.reading import read_graph
from gan_export.artifact.runtime import open_cpu
from gan_export.package.export import Exported

IMAGES = 11


def fixed(artifact: Artifact, batch: int) -> FixedBatchSession:
    content = read_graph(artifact, artifact.variant())
    return FixedBatchSession(on_gpu_thread(partial(open_cpu, content, 1)), artifact.manifest, batch, "cpu")


@pytest.mark.parametrize("batch", [1, 4, IMAGES, 64])
def test_any_number_of_images_is_drawn_in_batches_of_one_size(faces: Exported, clouds: Exported, batch: int):
    for exported in (faces, clouds):
        latents, labels = inputs_of(exported.artifact, IMAGES)
        found = run_session(fixed(exported.artifact, batch), latents, labels, pixels=True)
        wanted = run_session(open_session(exported.artifact), latents, labels, pixels=True)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)


def test_what_was_drawn_is_not_overwritten_by_the_next_batch(faces: Exported):
    session = fixed(faces.artifact, 4)
    latents, labels = inputs_of(faces.artifact, IMAGES)
    first = run_session(session, latents[:4], labels[:4])
    kept = first.copy()
    run_session(session, latents[4:8], labels[4:8])
    assert np.array_equal(first, kept)


def test_rows_that_are_not_needed_do_not_show(faces: Exported):
    session = fixed(faces.artifact, 8)
    latents, labels = inputs_of(faces.artifact, IMAGES)
    alone = run_session(session, latents[2:3], labels[2:3])
    run_session(session, latents, labels)
    assert np.array_equal(run_session(session, latents[2:3], labels[2:3]), alone)


def test_threads_take_turns(faces: Exported):
    session = fixed(faces.artifact, 3)
    latents, labels = inputs_of(faces.artifact, IMAGES)
    whole = run_session(session, latents, labels)

    def one(i: int) -> bool:
        return np.array_equal(run_session(session, latents[i : i + 2], labels[i : i + 2]), whole[i : i + 2])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(one, [i % 9 for i in range(60)]))


def test_it_may_be_forgotten_by_a_thread_that_is_handing_over_work(faces: Exported):
    held = [fixed(faces.artifact, 3)]
    closed = weakref.ref(held[0]._bound)

    def collect() -> None:
        with futures._global_shutdown_lock:  # as the garbage collector may find it
            held.clear()

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    until(lambda: closed() is None, "its thread has gone")


def test_an_error_in_the_gpus_thread_is_the_callers(faces: Exported):
    session = fixed(faces.artifact, 3)
    with pytest.raises(KeyError):
        session.run(["image"], {"z": np.zeros((1, 8), np.float32)})  # without its label
    latents, labels = inputs_of(faces.artifact, IMAGES)
    assert len(run_session(session, latents, labels)) == IMAGES
