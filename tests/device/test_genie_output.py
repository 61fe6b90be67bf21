"""The answer in what `genie-t2t-run` writes, however its output is torn."""

from __future__ import annotations

import json

import pytest

from qairt.device.genie_output import AnswerStream, Timing, timing_of

PROMPT = "<|user|>\nSay [BEGIN]: or [END] é\n<|assistant|>"
ANSWER = "\n\nDas heißt »Ende«: [END] steht so.\n"
HEAD = 'Using libGenie.so version 1.1.0\n\n[INFO]  "Using create From Binary"\n'
KPIS = (
    "\n\n[KPIS]:\nInit Time: 6549034 us\n"
    "Prompt Processing Time: 196067 us, Prompt Processing Rate : 86.707710 toks/sec\n"
    "Token Generation Time: 740568 us, Token Generation Rate: 12.152884 toks/sec\n"
)

FORMS = {
    "with the prompt": f"{HEAD}[PROMPT]: {PROMPT}\n\n[BEGIN]: {ANSWER}[END]\n",
    "with the prompt in another form": f"{HEAD}[PROMPT]: {PROMPT!r}\n\n[BEGIN]: {ANSWER}[END]\n",
    "without the prompt": f"{HEAD}[BEGIN]: {ANSWER}[END]\n",
    "with measurements": f"{HEAD}[BEGIN]: {ANSWER}[END]{KPIS}",
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("form", FORMS)
def test_the_answer_is_found_however_the_output_is_torn(form, size):
    data = FORMS[form].encode()
    stream = AnswerStream(PROMPT)
    pieces = [stream.feed(data[start : start + size]) for start in range(0, len(data), size)]
    assert "".join(pieces).startswith(ANSWER[:10]), "it comes as it is written"
    pieces.append(stream.feed(b"", last=True))
    assert "".join(pieces) == ANSWER
    assert stream.begun
    assert stream.ended
    assert stream.raw == FORMS[form]


def test_an_answer_that_was_cut_off():
    stream = AnswerStream("hi")
    assert stream.feed(b"[BEGIN]: half an ans") + stream.feed(b"", last=True) == "half an ans"
    assert stream.begun
    assert not stream.ended


def test_no_answer():
    stream = AnswerStream("hi")
    assert stream.feed(b"Failed to create the dialog.\n") + stream.feed(b"", last=True) == ""
    assert not stream.begun


def test_measurements_that_are_printed():
    found = timing_of(None, FORMS["with measurements"])
    assert found == Timing(
        init_s=pytest.approx(6.549034),
        time_to_first_token_s=pytest.approx(0.196067),
        prompt_tokens_per_second=86.70771,
        tokens_per_second=12.152884,
    )


def test_a_profile():
    events = [
        {"type": "GenieDialog_create", "init-time": {"value": 4060, "unit": "ms"}},
        {
            "type": "GenieDialog_query",
            "num-prompt-tokens": {"value": 29, "unit": ""},
            "prompt-processing-rate": {"value": 158.05, "unit": "toks/sec"},
            "time-to-first-token": {"value": 183500, "unit": "us"},
            "num-generated-tokens": {"value": 31, "unit": ""},
            "token-generation-rate": {"value": 10.03, "unit": "toks/sec"},
        },
    ]
    profile = json.dumps({"components": [{"name": "d", "type": "dialog", "events": events}]}).encode()
    assert timing_of(profile, "") == Timing(pytest.approx(4.06), pytest.approx(0.1835), 29, 158.05, 31, 10.03)


@pytest.mark.parametrize("profile", [b"", b"{}", b"[1]", b"num,1\n", b'{"components": [{"events": [{}]}]}'])
def test_a_profile_in_another_form_is_no_fault(profile):
    assert timing_of(profile, KPIS).tokens_per_second == 12.152884
