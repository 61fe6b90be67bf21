"""The tiny model, and its parts."""

import numpy as np
import pytest
from tiny_fixtures import config, hf_model, parameters, tiny_directory, tokenizer
from tiny_parts import make_parts, measured_encodings

CL = 32
IDS = np.random.default_rng(0).integers(3, 250, CL).tolist()


@pytest.fixture(scope="session")
def float_parts(tmp_path_factory, parameters):
    return make_parts(tmp_path_factory.mktemp("float"), parameters, ars=[1, 4, 8, 12], cl=CL, num_splits=3)


@pytest.fixture(scope="session")
def quantized_parts(tmp_path_factory, parameters):
    encodings = measured_encodings(parameters, IDS)
    directory = tmp_path_factory.mktemp("quantized")
    return make_parts(directory, parameters, ars=[1, 8], cl=CL, num_splits=3, encodings=encodings)
