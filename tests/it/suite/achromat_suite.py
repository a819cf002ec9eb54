"""A pytest plugin for the test suite that the chromadb wheel carries.

It replaces the default embedding function, which wants a download, leaves out the tests that
`exceptions.txt` lists with their reasons, and fails the run when a listed test does not exist."""

import hashlib
import os
import pathlib

import numpy
import pytest
from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2


def embed(self, input):
    def one(text):
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return numpy.random.default_rng(seed).standard_normal(384).astype(numpy.float32)

    return [one(text) for text in input]


ONNXMiniLM_L6_V2.__call__ = embed


def exceptions():
    text = pathlib.Path(__file__).with_name("exceptions.txt").read_text()
    lines = (line.strip() for line in text.splitlines())
    return [line.split(":")[0] for line in lines if line and not line.startswith("#")]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    listed = exceptions()
    kept, left_out, seen = [], [], set()
    for item in items:
        name = item.name.split("[")[0]
        is_property = "/property/" in str(item.fspath)
        repeats = is_property and "async_integration" in item.name
        if name in listed:
            seen.add(name)
        (left_out if name in listed or repeats else kept).append(item)
    missing = set(listed) - seen
    if missing and os.environ["ACHROMAT_SUITE_PART"] == "api":
        raise pytest.UsageError(f"exceptions.txt lists tests that do not exist: {sorted(missing)}")
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)
