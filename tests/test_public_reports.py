"""What the check says about mistakes that people reported in public."""

from __future__ import annotations

import functools
from collections import Counter

import pytest
from public_reports import REPORTS


@functools.cache
def report_of(name):
    return REPORTS[name][1]()


@functools.cache
def verdict(name):
    """Right, unknown, or a wrong name, by the first finding."""
    findings = report_of(name).findings
    code = findings[0].code if findings else "passed"
    return "right" if code in REPORTS[name][0] else "unknown" if code == "unknown" else "wrong"


@pytest.mark.parametrize("name", REPORTS)
def test_no_report_is_given_a_wrong_name(name):
    assert verdict(name) == "right", str(report_of(name))


def test_the_counts():
    """With ``pytest -s`` they are printed, as docs/gradcheck.md has them."""
    counts = Counter(verdict(name) for name in REPORTS)
    unknown = [n for n in REPORTS if any(f.code == "unknown" for f in report_of(n).findings)]
    print(f"\n{len(REPORTS)} reports: {dict(counts)}; {len(unknown)} hold an unknown:", *unknown)
    assert len(REPORTS) >= 60
    assert len(unknown) < 0.05 * len(REPORTS)
