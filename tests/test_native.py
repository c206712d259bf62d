# SPDX-License-Identifier: Apache-2.0
"""What the C library's callers share: messages that can always be printed, texts for C."""

from __future__ import annotations

import pytest

from mfs_transport.native import InputError, config_check, encoded, shown, text


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


VALUES = (
    "x" * 10**6,
    10**5000,
    -(10**400),
    [[[[[[[1]]]]]]] * 10**4,
    Broken(),
    "\ud800",
    "a\nb",
    b"\0",
)


def test_shown__is_short_and_can_be_printed():
    for value in VALUES:
        found = shown(value)
        assert len(found) < 200
        assert found.isprintable()
        found.encode()


def test_input_error__is_one_short_line():
    message = str(InputError("a\n\tb \x1b[31m " + "x" * 10**5 + " end \ud800"))
    assert message.startswith(r"a b \x1b[31m xxx")
    assert message.endswith(r" end \ud800")
    assert len(message) < 600
    assert message.isprintable()


@pytest.mark.parametrize("value", ["a\0b", "\ud800", None, 3, b"x", ["a"]])
def test_encoded__what_c_cannot_take(value: object):
    with pytest.raises(InputError, match=r"name .*: a text"):
        encoded(value, "name")


def test_encoded__bytes_that_are_not_utf_8_go_back_as_they_came():
    assert encoded("a\udcff", "name") == b"a\xff"


def test_config_check__a_message_cut_in_a_letter_is_told():
    with pytest.raises(InputError, match="one of off, fifo"):
        config_check("MFS_POLICY", "xé" * 1000)
    assert text(None) == ""
